// The road of the weights with the real program and the default model: out of its GGUF file into a folder, a difference,
// the model again, an adapter merged in, and back into a GGUF file that answers.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { cpSync, existsSync, mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { assertClearFailure, binary, knowlm, remove, root } from './lib/studio.mjs';

const adapter = join(root, 'assets/adapters/ie-smollm2');
let folder;
const at = (name) => join(folder, name);

/** Runs `knowlm weights` and gives the object it prints. */
async function weights(...args) {
  const { code, stdout, stderr } = await knowlm(['weights', ...args, '--json'], { timeout: 300_000 });
  assert.equal(code, 0, stderr);
  return JSON.parse(stdout);
}

const checksum = (path) => createHash('sha256').update(readFileSync(path)).digest('hex');

/** Every file of a folder with its checksum. */
function checksums(path) {
  return Object.fromEntries(readdirSync(path).map((name) => [name, checksum(join(path, name))]));
}

async function answer(model) {
  const { code, stdout, stderr } = await knowlm([
    'generate', '--model', model, '--adapter', 'none', '--prompt', 'The capital of France is',
    '--temperature', '0', '--max-new-tokens', '6',
  ]);
  assert.equal(code, 0, stderr);
  return stdout;
}

before(async () => {
  folder = mkdtempSync(join(tmpdir(), 'knowlm-weights-'));
  const { path } = await weights('inspect');
  const made = await weights('convert', path, '--to', 'hf', '--out', at('base'));
  assert.equal(made.operation, 'convert');
});
after(() => remove(folder));

test('a GGUF file becomes a folder that answers', async () => {
  for (const name of ['config.json', 'tokenizer.json', 'model.safetensors', 'knowlm-manifest.json']) {
    assert.ok(existsSync(join(at('base'), name)), name);
  }
  assert.match(await answer(at('base')), /Paris/);
  const verified = await weights('verify', at('base'));
  assert.equal(verified.ok, true);
});

test('an adapter is merged, the difference taken and the merged model recovered from it', async () => {
  const merged = await weights('merge', '--base', at('base'), '--adapter', adapter, '--out', at('merged'), '--dtype', 'f32');
  assert.match(merged.notes.join(), /tensors were changed/);
  await weights('diff', '--raw', at('base'), '--tuned', at('merged'), '--out', at('diff'), '--to', 'pytorch');
  assert.ok(existsSync(join(at('diff'), 'pytorch_model.bin')));
  const again = await weights('recover', '--raw', at('base'), '--diff', at('diff'), '--out', at('again'));
  assert.ok(Math.abs(again.exact_sum - merged.exact_sum) < 1e-2, `${again.exact_sum} and ${merged.exact_sum}`);
  const file = at('merged.gguf');
  await weights('merge', '--base', at('base'), '--adapter', adapter, '--to', 'gguf', '--dtype', 'q8_0', '--out', file);
  assert.match(await answer(file), /\w/);
  // Into a GGUF file, which keeps its tokenizer and its type: the same, but for what is rounded twice.
  await weights('convert', at('base'), '--to', 'gguf', '--dtype', 'f16', '--out', at('base.gguf'));
  await weights('merge', '--base', at('base.gguf'), '--adapter', adapter, '--to', 'gguf', '--out', at('into.gguf'));
  assert.match(await answer(at('into.gguf')), /\w/);
  for (const name of ['merged', 'base.gguf', 'into.gguf']) rmSync(at(name), { recursive: true });
});

test('a folder becomes GGUF files that answer', async () => {
  for (const dtype of ['f16', 'q8_0', 'q4_1']) {
    const file = at(`model-${dtype}.gguf`);
    await weights('convert', at('base'), '--to', 'gguf', '--dtype', dtype, '--out', file);
    assert.match(await answer(file), /Paris/, dtype);
    rmSync(file);
  }
});

/** Kills the same command at random moments, each time from the beginning, and has it run to its end after. */
async function killed(kills, args, whole, out) {
  const begun = performance.now();
  const done = await knowlm(['weights', ...args, '--out', whole]);
  assert.equal(done.code, 0, done.stderr);
  const took = performance.now() - begun;
  const folder = existsSync(join(whole, 'config.json'));
  const files = (path) => (folder ? checksums(path) : { file: checksum(path) });
  const want = files(whole);
  let unfinished = 0;
  for (let kill = 0; kill < kills; kill++) {
    rmSync(out, { recursive: true, force: true });
    rmSync(`${out}.knowlm-manifest.json`, { force: true });
    const child = spawn(binary, ['weights', ...args, '--out', out], { stdio: 'ignore' });
    const ended = new Promise((resolve) => child.on('exit', resolve));
    setTimeout(() => child.kill('SIGKILL'), Math.random() * took);
    await ended;
    // What has a final name is whole.
    for (const name of folder && existsSync(out) ? readdirSync(out) : []) {
      if (name.startsWith('.')) continue;
      assert.equal(checksum(join(out, name)), want[name], `${name} is whole after kill ${kill + 1} of ${args[0]}`);
    }
    if (!folder && existsSync(out)) assert.equal(checksum(out), want.file, `the file is whole after kill ${kill + 1}`);
    const complete = folder ? existsSync(join(out, 'knowlm-manifest.json')) : existsSync(`${out}.knowlm-manifest.json`);
    unfinished += complete ? 0 : 1;
    const again = await knowlm(['weights', ...args, '--out', out]);
    assert.equal(again.code, 0, again.stderr);
    assert.deepEqual(files(out), want, `${args[0]} after kill ${kill + 1}`);
  }
  assert.ok(unfinished > 0, 'some of the runs were ended in their work');
  rmSync(whole, { recursive: true });
  rmSync(out, { recursive: true });
}

test('killed at twenty moments and run again, there are the same files in the end', async () => {
  const shards = ['--shard-size', '20MB'];
  await killed(20, ['recover', '--raw', at('base'), '--diff', at('base'), ...shards], at('whole'), at('killed'));
  await killed(20, ['merge', '--base', at('base'), '--adapter', adapter, ...shards], at('whole'), at('killed'));
  await killed(20, ['convert', at('base'), '--to', 'pytorch', ...shards], at('whole'), at('killed'));
  await killed(20, ['convert', at('base'), '--to', 'gguf', '--dtype', 'q8_0'], at('whole.gguf'), at('killed.gguf'));
});

test('without a tokenizer it works too, and says so; what cannot work says why', async () => {
  cpSync(at('base'), at('bare'), { recursive: true, filter: (path) => !/tokenizer|manifest/.test(path) });
  const made = await weights('convert', at('bare'), '--to', 'pytorch', '--out', at('bare-torch'), '--dtype', 'bf16');
  assert.match(made.notes.join(), /cannot be talked to/);
  const fails = async (words, ...args) => assertClearFailure(await knowlm(['weights', ...args]), ...words);
  await fails([/is there already/, /--overwrite/], 'convert', at('bare'), '--to', 'hf', '--out', at('base'));
  await fails([/is what is read from/], 'convert', at('base'), '--to', 'hf', '--out', at('base'), '--overwrite');
  await fails([/holds no weights/], 'convert', join(root, 'docs'), '--to', 'hf', '--out', at('x'));
  await fails([/--dtype q4_0/], 'convert', at('base'), '--to', 'hf', '--dtype', 'q4_0', '--out', at('x'));
  await fails([/do not belong together/, /only in the/], 'diff', '--raw', adapter, '--tuned', at('base'), '--out', at('x'));
  assert.ok(!existsSync(at('x')));
});

test('every command shows an example', async () => {
  for (const command of ['convert', 'diff', 'recover', 'merge', 'verify', 'inspect', 'quantize', 'perplexity', 'setup']) {
    const help = await knowlm(['weights', command, '--help']);
    assert.equal(help.code, 0);
    assert.match(help.stdout, new RegExp(`knowlm weights ${command}`));
  }
});
