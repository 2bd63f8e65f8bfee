// What goes wrong is said in one clear sentence, loses nothing, and leaves the server alive.
import assert from 'node:assert/strict';
import { closeSync, copyFileSync, mkdirSync, mkdtempSync, openSync, readSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { ended, hydrated, open, openHouse, parameters, the } from './lib/house.mjs';
import { assertClearFailure, emptyDataDir, freePort, knowlm, remove, root, startStudio } from './lib/studio.mjs';

const house = openHouse();
const LONG = { temperature: 1.3, top_p: 1, top_k: 0, max_new_tokens: 1500, seed: 7 };

let folder;
before(() => (folder = mkdtempSync(join(tmpdir(), 'knowlm-faults-'))));
after(() => remove(folder));

// --- the server is killed or stopped ---------------------------------------------------------------

test('after kill -9 in the middle of a run, the next start has it as interrupted, with its text so far', async () => {
  const dataDir = emptyDataDir();
  try {
    const port = await freePort();
    const first = await startStudio({ dataDir, port });
    const page = await house.visitor({ studio: first });
    await open(page, '/pretrain');
    await the(page, 'prompt').fill('A very long story:');
    await parameters(page, LONG);
    await the(page, 'run').click();
    await page.waitForFunction(() => (document.querySelector('[data-testid="output"]')?.textContent ?? '').length > 80);
    const session = await the(page, 'this-session').getAttribute('href');
    const seen = await the(page, 'output').textContent();
    await page.waitForTimeout(700); // text is on disk half a second after it came
    await page.close();
    await first.kill();

    const second = await startStudio({ dataDir, port });
    const again = await house.visitor({ studio: second });
    await open(again, session);
    const line = the(again, 'run-line');
    assert.equal(await line.getAttribute('data-status'), 'interrupted');
    assert.match(await line.textContent(), /Interrupted because the server stopped; the text so far is kept/);
    const kept = await again.locator('.completion .text').textContent();
    assert.ok(kept.startsWith(seen), `seen: ${seen}\nkept: ${kept}`);

    await the(again, 'continue').click();
    await again.waitForURL('**/pretrain?session=*');
    await hydrated(again);
    assert.equal(await the(again, 'prompt').inputValue(), 'A very long story:', 'and can be run again');
    await second.stop();
  } finally {
    remove(dataDir);
  }
});

test('SIGTERM lets a short run finish, and the program ends with exit code 0', async () => {
  const dataDir = emptyDataDir();
  try {
    const port = await freePort();
    const first = await startStudio({ dataDir, port });
    const page = await house.visitor({ studio: first });
    await open(page, '/pretrain');
    await the(page, 'prompt').fill('One, two, three,');
    await parameters(page, { temperature: 0, max_new_tokens: 40, repetition_penalty: 1.3 });
    await the(page, 'run').click();
    await page.waitForFunction(() => (document.querySelector('[data-testid="output"]')?.textContent ?? '').length > 5);
    const session = await the(page, 'this-session').getAttribute('href');
    await page.close();
    await first.stop();

    const second = await startStudio({ dataDir, port });
    const again = await house.visitor({ studio: second });
    await open(again, session);
    assert.equal(await the(again, 'run-line').getAttribute('data-status'), 'finished');
    await second.stop();
  } finally {
    remove(dataDir);
  }
});

test('a page whose server has gone says so, and goes on by itself when it is back', async () => {
  const dataDir = emptyDataDir();
  try {
    const port = await freePort();
    const first = await startStudio({ dataDir, port });
    const page = await house.visitor({ studio: first, expected: [/ERR_|Failed to load resource/] });
    await open(page, '/pretrain');
    await the(page, 'prompt').fill('A very long story:');
    await parameters(page, LONG);
    await the(page, 'run').click();
    await page.waitForFunction(() => (document.querySelector('[data-testid="output"]')?.textContent ?? '').length > 80);
    await page.waitForTimeout(700);
    await first.kill();
    await page.getByText('The connection to the server is broken').waitFor();
    const second = await startStudio({ dataDir, port });
    const [end] = await ended(page, { timeout: 30_000 });
    assert.equal(end.status, 'interrupted');
    assert.ok((await the(page, 'output').textContent()).length > 80);
    await page.close();
    await second.stop();
  } finally {
    remove(dataDir);
  }
});

// --- the program cannot start ----------------------------------------------------------------------

test('a port in use is named', async () => {
  const other = createServer();
  await new Promise((resolve) => other.listen(0, '127.0.0.1', resolve));
  const { port } = other.address();
  const result = await knowlm(['serve', '--listen', `127.0.0.1:${port}`, '--data-dir', join(folder, 'port')]);
  other.close();
  assertClearFailure(result, new RegExp(`${port}`), /in use/);
});

test('a data folder that cannot be written to is named', async () => {
  const result = await knowlm(['serve', '--listen', '127.0.0.1:0', '--data-dir', '/proc/knowlm']);
  assertClearFailure(result, /\/proc\/knowlm/);
});

test('two programs do not share a data folder', async () => {
  const { dataDir } = house.studio;
  const result = await knowlm(['serve', '--listen', '127.0.0.1:0', '--data-dir', dataDir]);
  assertClearFailure(result, new RegExp(dataDir));
});

test('without logins the program listens on this computer only', async () => {
  const result = await knowlm(['serve', '--listen', '0.0.0.0:0', '--auth', 'none', '--data-dir', join(folder, 'listen')]);
  assertClearFailure(result, /--auth login/);
});

// --- files that are not what they should be ----------------------------------------------------------

const MODEL = 'SmolLM2-135M-Instruct.Q4_1.gguf';
function modelFile() {
  const data = process.env.KNOWLM_DATA_DIR ?? join(process.env.XDG_DATA_HOME ?? join(homedir(), '.local/share'), 'knowlm');
  return join(data, 'models', MODEL);
}

const generate = (...args) => knowlm(['generate', '--prompt', 'Hello', '--max-new-tokens', '1', ...args]);

test('a model that is not there is named', async () => {
  assertClearFailure(await generate('--model', join(folder, 'nothing.gguf')), /nothing\.gguf/);
});

test('a file that is no model is refused', async () => {
  const file = join(folder, 'garbage.gguf');
  writeFileSync(file, Buffer.alloc(100_000, 'not a model '));
  assertClearFailure(await generate('--model', file), /garbage\.gguf/, /GGUF/);
});

test('an empty file is refused', async () => {
  const file = join(folder, 'empty.gguf');
  writeFileSync(file, '');
  assertClearFailure(await generate('--model', file), /empty\.gguf/);
});

test('a truncated model is refused, wherever it was cut', async () => {
  const whole = openSync(modelFile(), 'r');
  try {
    for (const length of [3, 20, 1000, 1_000_000, 50_000_000]) {
      const file = join(folder, `cut-${length}.gguf`);
      const content = Buffer.alloc(length);
      readSync(whole, content, 0, length, 0);
      writeFileSync(file, content);
      assertClearFailure(await generate('--model', file), new RegExp(`cut-${length}\\.gguf`));
    }
  } finally {
    closeSync(whole);
  }
});

test('lengths in a file are not believed', async () => {
  const file = join(folder, 'huge.gguf');
  const header = Buffer.alloc(24 + 8);
  header.write('GGUF');
  header.writeUInt32LE(3, 4);
  header.writeBigUInt64LE(2n ** 60n, 8);
  header.writeBigUInt64LE(2n ** 60n, 16);
  header.writeBigUInt64LE(2n ** 62n, 24);
  writeFileSync(file, header);
  assertClearFailure(await generate('--model', file), /huge\.gguf/);
});

test('another architecture is named', async () => {
  const string = (text) => {
    const length = Buffer.alloc(8);
    length.writeBigUInt64LE(BigInt(Buffer.byteLength(text)));
    return Buffer.concat([length, Buffer.from(text)]);
  };
  const type = Buffer.alloc(4);
  type.writeUInt32LE(8); // a string
  const head = Buffer.alloc(24);
  head.write('GGUF');
  head.writeUInt32LE(3, 4);
  head.writeBigUInt64LE(0n, 8);
  head.writeBigUInt64LE(1n, 16);
  const file = join(folder, 'bert.gguf');
  writeFileSync(file, Buffer.concat([head, string('general.architecture'), type, string('bert'), Buffer.alloc(64)]));
  assertClearFailure(await generate('--model', file), /bert\.gguf/, /bert/);
});

test('an adapter that does not fit the base is refused', async () => {
  const own = join(root, 'assets/adapters/ie-smollm2');
  const adapter = join(folder, 'misfit');
  mkdirSync(adapter);
  copyFileSync(join(own, 'adapter_config.json'), join(adapter, 'adapter_config.json'));
  const name = (side) => `base_model.model.model.layers.0.self_attn.q_proj.lora_${side}.weight`;
  const header = Buffer.from(
    JSON.stringify({
      [name('A')]: { dtype: 'F32', shape: [16, 100], data_offsets: [0, 6400] },
      [name('B')]: { dtype: 'F32', shape: [100, 16], data_offsets: [6400, 12800] },
    }),
  );
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(header.length));
  writeFileSync(join(adapter, 'adapter_model.safetensors'), Buffer.concat([length, header, Buffer.alloc(12800)]));
  const result = await knowlm(['generate', '--instruction', 'Do', '--adapter', adapter]);
  assertClearFailure(result, /misfit/);
});

// --- what people type --------------------------------------------------------------------------------

test('on the terminal, an empty or too long prompt and a parameter out of range are refused', async () => {
  assertClearFailure(await knowlm(['generate', '--prompt', '']), /empty/);
  assertClearFailure(await knowlm(['generate', '--prompt', 'word '.repeat(12_000)]), /tokens/);
  assertClearFailure(await knowlm(['generate', '--prompt', 'Hello', '--temperature', '5']), /temperature/, /from 0 to 2/);
  assertClearFailure(await knowlm(['generate', '--prompt', 'Hello', '--max-new-tokens', '0']), /max/, /1/);
});

test('on the page, an empty prompt is refused in place', async () => {
  const page = await house.visitor();
  await open(page, '/pretrain');
  await the(page, 'run').click();
  assert.match(await the(page, 'error').textContent(), /Type a prompt first/);
});

test('on the page, a parameter out of range is refused beside its control, and nothing typed is lost', async () => {
  const page = await house.visitor();
  await open(page, '/pretrain');
  await the(page, 'prompt').fill('Hello');
  await the(page, 'param-temperature').fill('5');
  await the(page, 'prompt').press('Control+Enter');
  await page.getByText('must be a number from 0 to 2; it is 5').first().waitFor();
  assert.equal(await the(page, 'prompt').inputValue(), 'Hello');
  assert.equal(await the(page, 'run-line').count(), 0);
});

test('on the page, a prompt longer than the context is refused with both lengths, and stays in the box', async () => {
  const long = 'word '.repeat(12_000);
  const page = await house.visitor({ expected: [/status of 4\d\d/] });
  await open(page, '/pretrain');
  await the(page, 'prompt').fill(long);
  await the(page, 'run').click();
  await page.waitForFunction(() => /\d+ tokens/.test(document.querySelector('main').innerText.replaceAll('Max new tokens', '')));
  assert.equal(await the(page, 'prompt').inputValue(), long);
  assert.equal(await (await fetch(`${house.studio.url}/is_ready`)).text(), 'true');
});

test('an unknown share link is a page that says so', async () => {
  const page = await house.visitor({ javaScriptEnabled: false, expected: [/status of 404/] });
  const answer = await page.goto('/s/AAAAAAAAAAAAAAAAAAAAAAAAAAA');
  assert.equal(answer.status(), 404);
  assert.match(await the(page, 'page-error').textContent(), /link/i);
});

test('an unknown session and an unknown page are pages that say so', async () => {
  const page = await house.visitor({ expected: [/status of 404/] });
  for (const path of ['/sessions/00000000-0000-0000-0000-000000000000', '/no/such/page']) {
    const answer = await page.goto(path);
    assert.equal(answer.status(), 404, path);
    assert.ok((await the(page, 'page-error').textContent()).length > 10, path);
  }
});

test('letters that look like HTML stay letters, everywhere', async () => {
  const nasty = '<img src=x onerror=alert(1)> & <script>alert(2)</script>';
  const page = await house.visitor();
  page.on('dialog', () => assert.fail('a script ran'));
  await open(page, '/pretrain');
  await the(page, 'prompt').fill(nasty);
  await parameters(page, { max_new_tokens: 2 });
  await the(page, 'run').click();
  await ended(page);
  const session = await the(page, 'this-session').getAttribute('href');
  for (const path of [session, '/sessions']) {
    await open(page, path);
    assert.equal(await page.locator('main img, main script:not([nonce])').count(), 0);
    assert.ok((await page.locator('main').innerText()).includes('onerror=alert(1)'), path);
  }
});
