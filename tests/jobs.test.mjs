// `/admin/weights`: what the command line does to model files, as jobs on a page; with and without scripts, stopped, killed and
// gone on with.
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { open, openHouse, the } from './lib/house.mjs';
import { fetched, hub, safetensors, sum } from './lib/hub.mjs';
import { remove, startStudio } from './lib/studio.mjs';

const MODEL = 'SmolLM2-135M-Instruct.Q4_1.gguf';
const house = openHouse({ serve: false });

let studio;
const models = (...names) => join(studio.dataDir, 'models', ...names);

before(async () => {
  // A data folder whose `models` is its own: results are written there.
  const dataDir = mkdtempSync(join(tmpdir(), 'knowlm-jobs-'));
  mkdirSync(join(dataDir, 'models'));
  const elsewhere = process.env.KNOWLM_DATA_DIR && join(process.env.KNOWLM_DATA_DIR, 'models', MODEL);
  if (elsewhere && existsSync(elsewhere)) symlinkSync(elsewhere, join(dataDir, 'models', MODEL));
  studio = await startStudio({ dataDir });
});
after(async () => {
  await studio.stop();
  remove(studio.dataDir);
});

const visitor = (options = {}) => house.visitor({ studio, ...options });
const field = (page, name) => the(page, `field-${name}`);

/** Fills in the form of an operation and sends it. */
async function begin(page, operation, fields) {
  await page.goto(`/admin/weights?operation=${operation}`);
  for (const [name, value] of Object.entries(fields)) {
    const control = field(page, name);
    if (!(await control.isVisible())) await the(page, 'more-fields').click();
    const kind = await control.evaluate((e) => (e.tagName === 'SELECT' ? 'select' : e.type));
    if (kind === 'select') await control.selectOption(value);
    else if (kind === 'checkbox') await control.setChecked(value);
    else await control.fill(value);
  }
  await the(page, 'start').click();
  await page.waitForURL(/[?&](job|entered)=/);
}

/** Waits until the job of the page is in a state. */
async function state(page, wanted, { timeout = 120_000 } = {}) {
  await page.locator(`[data-testid="job"][data-state="${wanted}"]`).waitFor({ timeout });
}

async function done(page, options) {
  const ended = page.locator('[data-testid="job"]:is([data-state="done"], [data-state="failed"])');
  await ended.waitFor({ timeout: 180_000, ...options });
  const error = await the(page, 'job-error').allTextContents();
  assert.deepEqual([await the(page, 'job').getAttribute('data-state'), error], ['done', []]);
}

function tiny(name, numbers) {
  mkdirSync(models(name), { recursive: true });
  writeFileSync(models(name, 'model.safetensors'), safetensors({ 'a.weight': [[2, 2], numbers.slice(0, 4)], b: [[2], numbers.slice(4)] }));
  writeFileSync(models(name, 'config.json'), '{"model_type": "llama"}');
}

test('a model is converted, looked into and rounded, with progress, and every result says where it lies', async () => {
  const page = await visitor();
  await open(page, '/admin');
  await the(page, 'weights-link').click();
  await the(page, 'job-form').waitFor();
  await the(page, 'no-jobs').waitFor();
  await field(page, 'input').fill(MODEL);
  await field(page, 'to').selectOption('hf');
  await field(page, 'out').fill('plain');
  await the(page, 'start').click();
  assert.match(await the(page, 'job-title').textContent(), /^Convert: .*Q4_1\.gguf → plain$/);
  await done(page);
  assert.equal(await the(page, 'result-path').textContent(), models('plain'));
  const manifest = readFileSync(models('plain', 'knowlm-manifest.json'));
  assert.equal(await the(page, 'manifest-sha256').textContent(), sum('sha256', manifest));
  assert.ok(existsSync(models('plain', 'tokenizer.json')));

  await the(page, 'inspect-it').click();
  await done(page);
  assert.match(await the(page, 'parameters').textContent(), /^134\.5 M numbers in 272 tensors, 269 MB$/);
  assert.match(await the(page, 'inspected').textContent(), /safetensors.*134\.5 M F16.*llama: 30 layers of 576 numbers/s);
  assert.match(await the(page, 'tensors').textContent(), /Layers 0-29, .* each.*self_attn\.q_proj\.weight576 × 576F16/s);
  const memory = await the(page, 'memory').locator('tbody tr').allTextContents();
  assert.equal(memory.length, 3, 'as stored, in eight and in four bits');
  assert.ok(memory.every((line) => /fits here$/.test(line)), memory.join('\n'));

  await begin(page, 'quantize', { input: 'plain', dtype: 'q8_0', out: 'small' });
  await state(page, 'running');
  // What it says while it goes on comes by itself.
  await the(page, 'job-figures').filter({ hasText: /perplexity of the original · \d+ \/ \d+/ }).waitFor({ timeout: 180_000 });
  await page.locator('[data-testid="job"] progress[value]').waitFor();
  await done(page);
  assert.match(await the(page, 'smaller').textContent(), /^\d+ MB in Q8_0, of 269 MB before\.$/);
  const [, was, is, change] = await the(page, 'perplexity').locator('tbody tr > *').allTextContents();
  assert.ok(Math.abs(parseFloat(is) / parseFloat(was) - 1) < 0.02, `${was} became ${is}: ${change}`);
  assert.equal(await the(page, 'layers').locator('tr').count(), 31);
  assert.ok(existsSync(models('small.gguf')));

  await the(page, 'all-jobs').click();
  await the(page, 'job-form').waitFor();
  const jobs = await the(page, 'job').evaluateAll((all) => all.map((job) => [job.dataset.operation, job.dataset.state]));
  assert.deepEqual(jobs, [['quantize', 'done'], ['inspect', 'done'], ['convert', 'done']]);
  const found = await the(page, 'found-models').locator('li').evaluateAll((all) => all.map((li) => li.dataset.name));
  assert.ok(['plain', 'small.gguf'].every((name) => found.includes(name)), found.join());
});

for (const javaScriptEnabled of [true, false]) {
  test(`what was entered stays when it cannot be meant so, ${javaScriptEnabled ? 'with' : 'without'} scripts`, async () => {
    const page = await visitor({ javaScriptEnabled });
    const entered = { input: '/no/such "place"&x', to: 'gguf', dtype: 'q4_k', out: '结果 1' };
    await begin(page, 'convert', entered);
    assert.match(await the(page, 'refused').textContent(), /^There is nothing at \/no\/such "place"&x on the server's computer/);
    assert.equal(await field(page, 'input').getAttribute('aria-invalid'), 'true');
    for (const [name, value] of Object.entries(entered)) assert.equal(await field(page, name).inputValue(), value, name);

    await begin(page, 'convert', { ...entered, input: MODEL, to: 'hf' });
    assert.match(await the(page, 'refused').textContent(), /^A folder cannot hold q4_k/);
    await begin(page, 'convert', { input: MODEL, out: '../../etc/x' });
    assert.match(await the(page, 'refused').textContent(), /cannot be the name of a result/);
    writeFileSync(models('taken.gguf'), '');
    await begin(page, 'convert', { input: MODEL, out: 'taken', to: 'gguf' });
    assert.match(await the(page, 'refused').textContent(), /taken\.gguf is there already/);
    await begin(page, 'merge', { input: MODEL, adapters: 'ie-smollm2=a lot\n' });
    assert.match(await the(page, 'refused').textContent(), /“a lot” is no weight/);
    assert.equal((await field(page, 'adapters').inputValue()).trim(), 'ie-smollm2=a lot');
  });
}

test('a file that cannot be read is told with the reason, in the person’s language, and what was entered can be changed', async () => {
  const page = await visitor({ javaScriptEnabled: false });
  writeFileSync(models('broken.gguf'), 'GGUF and nothing');
  await begin(page, 'inspect', { input: 'broken.gguf' });
  while (!(await the(page, 'job-error').count())) await page.reload();
  assert.match(await the(page, 'job-error').textContent(), /broken\.gguf/);
  await the(page, 'edit').click();
  assert.equal(await field(page, 'input').inputValue(), 'broken.gguf');
  await the(page, 'language').click();
  await page.goto('/admin/weights');
  assert.match(await the(page, 'job').first().textContent(), /查看 broken\.gguf.*失败.*未能完成/s);
});

test('an adapter is merged; a difference and what it was made of give the model again', async () => {
  const page = await visitor();
  await open(page, '/admin/weights?operation=merge&input=plain');
  assert.equal((await field(page, 'adapters').inputValue()).trim(), 'ie-smollm2', 'the only one there is');
  await field(page, 'to').selectOption('gguf');
  await field(page, 'dtype').selectOption('q8_0');
  await the(page, 'start').click();
  await done(page);
  assert.equal(await the(page, 'result-path').textContent(), models('plain-merged.gguf'), 'a name of its own');

  tiny('raw', [1, 2, 3, 4, 5, 6]);
  tiny('tuned', [2, 2, 1, 4, 8, 0.5]);
  await begin(page, 'diff', { input: 'raw', other: 'tuned' });
  await done(page);
  await begin(page, 'recover', { input: 'raw', other: 'tuned-diff' });
  await done(page);
  assert.match(await the(page, 'written').textContent(), /17\.5000/, 'the sum of all numbers');
  const weights = (name) => readFileSync(models(name, 'model.safetensors')).subarray(-24);
  assert.ok(weights('tuned-recovered').equals(weights('tuned')));
});

test('verifying names the file that is wrong and how to get it again', async () => {
  const page = await visitor();
  const file = models('tuned-recovered', 'model.safetensors');
  const bytes = readFileSync(file);
  await begin(page, 'verify', { input: 'tuned-recovered' });
  await the(page, 'verdict').filter({ hasText: 'Nothing is wrong.' }).waitFor();
  assert.match(await the(page, 'verified-tensors').textContent(), /^2 of 2 tensors/);
  bytes[bytes.length - 1] ^= 1;
  writeFileSync(file, bytes);
  await begin(page, 'verify', { input: 'tuned-recovered' });
  await the(page, 'verdict').filter({ hasText: 'Something is wrong' }).waitFor();
  assert.match(await the(page, 'problems').textContent(), /model\.safetensors · b: .*make it again/s);
  assert.equal(await the(page, 'job-state').textContent(), 'Something is wrong');
});

test('what the command line can do, the page can: a size of files, a calibration text, a text to score, the whole road', async () => {
  const page = await visitor();
  const text = models('..', 'text.txt');
  writeFileSync(text, 'The quick brown fox jumps over the lazy dog, and nobody knows why it would. '.repeat(60));
  await begin(page, 'convert', { input: 'plain', out: 'shards', shard: 'much' });
  assert.match(await the(page, 'refused').textContent(), /“much” is no size/);
  await field(page, 'shard').fill('100MB');
  await the(page, 'start').click();
  await page.waitForURL(/[?&]job=/);
  await done(page);
  assert.ok(existsSync(models('shards', 'model-00003-of-00003.safetensors')));

  await begin(page, 'perplexity', { input: MODEL, text });
  await done(page);
  assert.match(await the(page, 'score').textContent(), /Perplexity\d+\.\d{4} ± .*Tokens scored\d+/s);

  const rounded = { input: 'plain', dtype: 'q6_k', gptq: true, quick: true, calibration: text, out: 'calibrated' };
  await begin(page, 'quantize', rounded);
  assert.match(await the(page, 'refused').textContent(), /rounded to q4_0, q4_1 or q4_k/);
  await begin(page, 'quantize', { ...rounded, dtype: 'q4_0' });
  await the(page, 'job-figures').filter({ hasText: /rounding layer by layer · \d+ \/ 30/ }).waitFor({ timeout: 180_000 });
  await done(page);
  const outputs = await the(page, 'outputs').locator('tbody tr').evaluateAll((rows) => rows.map((row) => [...row.cells].slice(1).map((c) => +c.textContent)));
  assert.ok(outputs.length === 30 && outputs.every(([gptq, plain]) => gptq < plain), JSON.stringify(outputs));
  assert.deepEqual(readdirSync(models()).filter((name) => name.includes('calibrated')).sort(), ['calibrated.gguf', 'calibrated.gguf.knowlm-manifest.json']);

  await begin(page, 'setup', { input: 'raw', other: 'zhixi-13b-dif', out: 'road' });
  assert.match(await the(page, 'refused').textContent(), /There is no “zhixi-13b-dif”/);
  await begin(page, 'setup', { input: 'raw', other: 'tuned-diff', out: 'road' });
  await done(page);
  assert.equal(await the(page, 'result-path').textContent(), models('road', 'base'));
  assert.match(await the(page, 'notes').textContent(), /4 of 4: Check the result/);
  await the(page, 'language').click();
  await the(page, 'notes').filter({ hasText: '第 4 步，共 4 步：检查结果' }).waitFor();
});

test('a job is stopped and goes on; a killed server goes on with it by itself; others wait their turn', async () => {
  const bytes = Buffer.from(Float32Array.from({ length: 8 << 20 }, (_, n) => Math.sin(n)).buffer);
  const slow = await hub({ 'model.safetensors': bytes }, { pace: 40 });
  after(slow.close);
  tiny('little', [1, 2, 3, 4, 5, 6]);
  const expected = [/ERR_CONNECTION_REFUSED|Failed to fetch|network/i];
  const page = await visitor({ expected });
  await begin(page, 'download', { input: 'some/model', mirror: slow.url });
  const fetching = () => the(page, 'job-figures').filter({ hasText: /fetching · [1-9][\d.]* MB \/ 33\.6 MB · .*\/s · .* left/ });
  await fetching().waitFor();

  const second = await visitor();
  await begin(second, 'convert', { input: 'little', out: 'later' });
  assert.equal(await the(second, 'job-state').textContent(), 'Waiting, 1 before it');

  await the(page, 'stop').click();
  await state(page, 'stopped');
  assert.match(await the(page, 'job-figures').textContent(), /MB \/ 33\.6 MB/);
  await done(second);
  assert.ok(!existsSync(models('some--model', 'model.safetensors')), 'what is not whole has not its name');

  await the(page, 'go-on').click();
  await fetching().waitFor();
  await page.goto('about:blank');
  await studio.kill();
  Object.assign(slow, { pace: 0, asked: [] });
  const { dataDir, port } = studio;
  studio = await startStudio({ dataDir, port });
  await open(page, '/admin/weights');
  const [job] = await the(page, 'job').evaluateAll((all) => all.filter((one) => one.dataset.operation === 'download').map((one) => one.dataset.job));
  await page.goto(`/admin/weights?job=${job}`);
  await done(page);
  assert.ok(readFileSync(models('some--model', 'model.safetensors')).equals(bytes));
  assert.deepEqual(readdirSync(models('some--model')), ['model.safetensors']);
  assert.ok(fetched(slow) < bytes.length - 65536, `${fetched(slow)} of ${bytes.length} bytes were fetched again`);
  assert.match(await the(page, 'job-result').textContent(), /fetched · checksum right/);
});

test('rounding is stopped while it measures, goes on, and is taken off the list', async () => {
  const page = await visitor();
  await begin(page, 'quantize', { input: MODEL, dtype: 'q8_0', out: 'stopped' });
  await the(page, 'job-figures').filter({ hasText: /perplexity/ }).waitFor({ timeout: 180_000 });
  await the(page, 'stop').click();
  await state(page, 'stopped');
  await page.reload();
  await the(page, 'go-on').click();
  await done(page);
  const jobs = async () => (await the(page, 'job').evaluateAll((all) => all.map((job) => job.dataset.job))).length;
  await the(page, 'all-jobs').click();
  await the(page, 'job-form').waitFor();
  const before = await jobs();
  await the(page, 'forget').first().click();
  await the(page, 'job-form').waitFor();
  await page.waitForFunction((n) => document.querySelectorAll('[data-testid="job"]').length === n, before - 1);
  assert.ok(existsSync(models('stopped.gguf')), 'the result stays');
});
