// Fetching, verifying and inspecting models with the real program, from a hub that this file serves.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, test } from 'node:test';

import { fetched, hub as served, safetensors, sum } from './lib/hub.mjs';
import { assertClearFailure, binary, knowlm, remove } from './lib/studio.mjs';

const MB = 1 << 20;
const folders = [];
const hubs = [];

function folder() {
  const made = mkdtempSync(join(tmpdir(), 'knowlm-download-'));
  folders.push(made);
  return made;
}

afterEach(() => {
  folders.splice(0).forEach(remove);
  hubs.splice(0).forEach((hub) => hub.close());
});

/** A hub that is closed after the test. */
async function hub(...args) {
  const one = await served(...args);
  hubs.push(one);
  return one;
}

/** Bytes that do not repeat soon. */
function content(length) {
  const bytes = Buffer.alloc(length);
  for (let i = 0, x = 1; i < length; i++) bytes[i] = (x = (Math.imul(x, 1664525) + 1013904223) >>> 0) >>> 24;
  return bytes;
}

test('a download that was killed goes on where it was, and ends with the right bytes', async () => {
  const bytes = content(24 * MB);
  const slow = await hub({ 'model.safetensors': bytes, 'config.json': Buffer.from('{}') }, { pace: 15 });
  const out = folder();
  const args = ['download', 'some/model', '--mirror', slow.url, '--out', out, '--parts', '2'];
  const child = spawn(binary, args, { stdio: 'ignore' });
  const unfinished = join(out, 'model.safetensors.part.json');
  const done = () => (existsSync(unfinished) ? JSON.parse(readFileSync(unfinished)).done.reduce((a, b) => a + b) : 0);
  while (done() < 2 * MB) await new Promise((resolve) => setTimeout(resolve, 20));
  child.kill('SIGKILL');
  await new Promise((resolve) => child.on('exit', resolve));
  assert.ok(!existsSync(join(out, 'model.safetensors')), 'what is not whole has not its name');

  const kept = done();
  const quick = await hub({ 'model.safetensors': bytes, 'config.json': Buffer.from('{}') });
  const { code, stdout, stderr } = await knowlm([...args.slice(0, 3), quick.url, ...args.slice(4), '--json']);
  assert.equal(code, 0, stderr);
  assert.ok(readFileSync(join(out, 'model.safetensors')).equals(bytes));
  assert.ok(fetched(quick) <= bytes.length - kept + 2, `${fetched(quick)} bytes were fetched although ${kept} were there`);
  const files = JSON.parse(stdout);
  assert.deepEqual(files.map((f) => f.was_there), [false, false]);
  assert.ok(files.some((f) => f.sha256 === sum('sha256', bytes)));
  assert.deepEqual(readdirSync(out).sort(), ['config.json', 'model.safetensors'], 'nothing unfinished is left');
});

test('patterns choose files, and a token is sent along', async () => {
  const one = await hub({ 'a.gguf': content(10), 'b.gguf': content(20), 'notes.txt': content(30) });
  const out = folder();
  const args = ['download', 'some/model', '--mirror', one.url, '--out', out, '--include', '*.gguf', '--exclude', 'a*'];
  const { code, stderr } = await knowlm(args, { env: { HF_TOKEN: 'secret' } });
  assert.equal(code, 0, stderr);
  assert.deepEqual(readdirSync(out), ['b.gguf']);
  assert.ok(one.asked.every((request) => request.token === 'Bearer secret'));
});

test('mistakes are told in a sentence', async () => {
  const out = folder();
  assertClearFailure(await knowlm(['download', 'no-such-model']), /zhixi-13b-lora/, /OWNER\/REPO/);
  assertClearFailure(await knowlm(['download', 'a/b', '--mirror', 'ftp://x', '--out', out]), /https:/);
  const empty = await hub({});
  assertClearFailure(await knowlm(['download', 'other/model', '--mirror', empty.url, '--out', out]), /does not exist/);
});

test('verify names the file that is wrong, and the exit code tells', async () => {
  const dir = folder();
  const bytes = safetensors({ x: [[2], [1, 2]] });
  writeFileSync(join(dir, 'model.safetensors'), bytes);
  writeFileSync(join(dir, 'config.json'), '{}');
  writeFileSync(join(dir, 'MD5SUMS'), `${sum('md5', bytes)}  model.safetensors\n`);
  const right = await knowlm(['weights', 'verify', dir]);
  assert.equal(right.code, 0, right.stderr);
  assert.match(right.stdout, /model\.safetensors .* right  md5 of MD5SUMS[^]*Nothing is wrong/);

  bytes[bytes.length - 1] ^= 1;
  writeFileSync(join(dir, 'model.safetensors'), bytes);
  const wrong = await knowlm(['weights', 'verify', dir]);
  assertClearFailure(wrong, /wrong/);
  assert.match(wrong.stdout, /wrong: model\.safetensors: its md5 is/);
  const json = JSON.parse((await knowlm(['weights', 'verify', dir, '--json'])).stdout);
  assert.equal(json.ok, false);
  assert.deepEqual(json.files.map((f) => [f.file, f.state]), [['model.safetensors', 'wrong']]);
});

test('inspect shows the default model: sizes, layers that are alike once, memory', async () => {
  const { code, stdout, stderr } = await knowlm(['weights', 'inspect']);
  assert.equal(code, 0, stderr);
  assert.match(stdout, /134\.5 M numbers in 272 tensors/);
  assert.match(stdout, /llama: 30 layers of 576 numbers/);
  assert.match(stdout, /as stored .* fits here/);
  assert.ok(stdout.split('\n').length < 80, 'thirty layers are not listed one by one');
  const json = JSON.parse((await knowlm(['weights', 'inspect', '--json'])).stdout);
  assert.equal(json.tensors.length, 272);
  assert.equal(json.model.context, 8192);
  assert.ok(json.memory[0].weights > 50 * MB && json.memory[0].weights < 500 * MB);
});

test('setup goes the whole road, and a second call goes on', async () => {
  const dir = folder();
  const [raw, diff, out] = ['raw', 'diff', 'out'].map((name) => join(dir, name));
  const config = JSON.stringify({ model_type: 'llama', hidden_size: 2, num_attention_heads: 1, num_hidden_layers: 1 });
  const model = (path, numbers) => {
    mkdirSync(path);
    writeFileSync(join(path, 'config.json'), config);
    writeFileSync(join(path, 'model.safetensors'), safetensors({ 'model.norm.weight': [[2], numbers] }));
  };
  model(raw, [1, 2]);
  model(diff, [0.5, -1]);
  const flags = ['--raw', raw, '--diff', diff, '--adapter', 'none', '--out', out];
  assertClearFailure(await knowlm(['weights', 'setup', '--out', out]), /--raw is missing/);
  const first = await knowlm(['weights', 'setup', ...flags]);
  assert.equal(first.code, 0, first.stderr);
  assert.match(first.stdout, /\[1\/4\] Check the original weights[^]*\[4\/4\] Check the result[^]*Ready: /);
  const bytes = readFileSync(join(out, 'base/model.safetensors'));
  assert.deepEqual([...new Float32Array(bytes.buffer.slice(bytes.length + bytes.byteOffset - 8, bytes.length + bytes.byteOffset))], [1.5, 1]);

  const again = await knowlm(['weights', 'setup', '--out', out]);
  assert.equal(again.code, 0, again.stderr);
  assert.match(again.stdout, /\[3\/4\] Recover the base: original and difference: done/);
  assertClearFailure(await knowlm(['weights', 'setup', '--out', out, '--raw', diff]), /was begun with --raw/);
});
