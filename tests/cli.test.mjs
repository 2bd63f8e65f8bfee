// The commands of the README, as they stand there.
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';

import { examples } from './lib/house.mjs';
import { knowlm, remove, root } from './lib/studio.mjs';

test('every command explains itself, with an example', async () => {
  const help = await knowlm(['--help']);
  assert.equal(help.code, 0);
  for (const command of ['serve', 'generate', 'cases', 'bench']) {
    assert.match(help.stdout, new RegExp(`^\\s+${command}\\b`, 'm'));
    const own = await knowlm([command, '--help']);
    assert.equal(own.code, 0);
    assert.match(own.stdout, new RegExp(`knowlm ${command}`));
  }
});

test('generate completes a prompt', async () => {
  const { code, stdout } = await knowlm(['generate', '--prompt', 'The capital of France is', '--temperature', '0', '--max-new-tokens', '8']);
  assert.equal(code, 0);
  assert.match(stdout, /Paris/);
});

test('generate --json prints one object with text, counts, parameters and timings', async () => {
  const [example] = examples();
  const instruction = 'Name the persons.';
  const { code, stdout } = await knowlm(['generate', '--instruction', instruction, '--input', example.text, '--json']);
  assert.equal(code, 0);
  const answer = JSON.parse(stdout);
  for (const key of ['text', 'finish_reason', 'prompt_tokens', 'completion_tokens', 'model', 'adapter', 'parameters', 'timings']) {
    assert.ok(key in answer, key);
  }
  for (const key of ['queue_ms', 'prefill_ms', 'decode_ms', 'tokens_per_second']) {
    assert.equal(typeof answer.timings[key], 'number', key);
  }
  assert.equal(answer.model, 'SmolLM2-135M-Instruct');
  assert.equal(answer.adapter, 'ie-smollm2', 'an instruction is answered with the default adapter');
  assert.equal(answer.parameters.temperature, 0, "the adapter's manifest asks for greedy decoding");
  assert.equal(answer.parameters.repetition_penalty, 1);
});

test('generate answers with words of a text, and tells where the time went', async () => {
  const ask = ['generate', '--prompt', 'Ada met Charles. Who was met?', '--guide-span', 'Ada met Charles.', '--temperature', '0', '--max-new-tokens', '8'];
  const { code, stdout, stderr } = await knowlm([...ask, '--no-lookup']);
  assert.equal(code, 0, stderr);
  assert.ok('Ada met Charles.'.includes(stdout.trim()) && stdout.trim() !== '', stdout);
  assert.match(stderr, /tokens\/s; waited \d+ ms, read the prompt in \d+ ms, answered in \d+ ms, of which [\d.]+ ms to guide it\.\n$/);
});

test('a loop ends an answer unless it is allowed, and beams take their length penalty', async () => {
  const ask = (...more) => knowlm(['generate', '--prompt', 'no no no no', '--temperature', '0', '--max-new-tokens', '90', '--json', '--logit-bias', ' no=100', ...more]);
  const reason = async (...more) => JSON.parse((await ask(...more)).stdout).finish_reason;
  assert.deepEqual([await reason(), await reason('--stop-repeats', 'off')], ['repeat', 'length']);
  const beams = await ask('--beams', '3', '--length-penalty', '-1', '--early-stopping', 'on');
  assert.equal(beams.code, 0, beams.stderr);
  assert.deepEqual(
    (({ length_penalty, early_stopping }) => [length_penalty, early_stopping])(JSON.parse(beams.stdout).parameters),
    [-1, true],
  );
  const wrong = await ask('--early-stopping', 'perhaps');
  assert.notEqual(wrong.code, 0);
  assert.match(wrong.stderr, /must be on or off/);
});

test('cases runs a file of one’s own and marks how each answer ends', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'knowlm-cases-'));
  try {
    const file = join(folder, 'own.json');
    writeFileSync(
      file,
      JSON.stringify({
        defaults: { max_new_tokens: 4, temperature: 0 },
        cases: [{ prompt: 'The capital of France is' }, { instruction: 'Extract the names.', input: 'Ada met Charles.' }],
      }),
    );
    const shown = await knowlm(['cases', file]);
    assert.equal(shown.code, 0, shown.stderr);
    assert.match(shown.stdout, /2 cases: cut off \d, finished \d, repeated \d/);

    const { stdout } = await knowlm(['cases', file, '--json']);
    const report = JSON.parse(stdout);
    assert.equal(report.cases.length, 2);
    assert.match(report.cases[0].text, /Paris/);
    assert.equal(report.cases[0].mark, 'cut off', 'after four tokens');
    assert.equal(Object.values(report.summary).reduce((a, b) => a + b), 2);
  } finally {
    remove(folder);
  }
});

test('every example that the pages offer is answered, without a loop, with something right', async () => {
  // With the instruction that the page makes: the taught one, from the manifest.
  const manifest = JSON.parse(readFileSync(join(root, 'assets/adapters/ie-smollm2/manifest.json'), 'utf8'));
  for (const example of examples()) {
    const { instruction } = manifest.taught.find((t) => t.name === example.schema);
    const { code, stdout } = await knowlm(['generate', '--instruction', instruction, '--input', example.text, '--json']);
    assert.equal(code, 0);
    const { text, finish_reason: reason } = JSON.parse(stdout);
    assert.equal(reason, 'stop', `${example.title.en}: ${text}`);
    for (const words of example.finds) assert.ok(text.includes(words), `${example.title.en}: "${words}" is not in ${text}`);
  }
});
