// Pretrain mode: a prompt goes in, the base writes on.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { ended, open, openHouse, parameters, quiet, reload, the } from './lib/house.mjs';

const house = openHouse();
const PROMPT = 'Once upon a time, in a small village by the sea,';
// Hot enough to go on for long.
const LONG = { temperature: 1.3, top_p: 1, top_k: 0, max_new_tokens: 1500, seed: 7 };

const grownBeyond = (page, length) =>
  page.waitForFunction(
    (n) => (document.querySelector('[data-testid="output"]')?.textContent ?? '').length > n,
    length,
    { timeout: 60_000 },
  );

test('a prompt is completed word by word, and the page says how it ended and how fast', async () => {
  const page = await house.visitor();
  await open(page, '/pretrain');
  await the(page, 'prompt').fill(PROMPT);
  await parameters(page, { max_new_tokens: 192, seed: 1 });

  await page.evaluate(() => {
    window.seen = new Set();
    const look = () => {
      const text = document.querySelector('[data-testid="output"]')?.textContent;
      if (text) window.seen.add(text);
      requestAnimationFrame(look);
    };
    look();
  });
  await the(page, 'run').click();
  const [end] = await ended(page);

  assert.equal(end.status, 'finished');
  const seen = await page.evaluate(() => [...window.seen]);
  assert.ok(seen.length >= 5, `the answer came in ${seen.length} steps, not token by token`);
  for (const [before, after] of seen.slice(1).map((text, i) => [seen[i], text])) {
    assert.ok(after.startsWith(before), `a stream only grows: "${before}" became "${after}"`);
  }
  const line = await the(page, 'run-line').textContent();
  assert.match(line, /prompt \d+ tokens/);
  assert.match(line, /answer \d+ tokens/);
  assert.match(line, /\d+ tokens\/s/);
  assert.match(line, /first token after/);
  if (end.finish === 'length') assert.match(line, /Cut off at the token limit/);
  assert.equal(await page.locator('.completion .prompt').textContent(), PROMPT, 'the prompt is told apart');
  const listed = await page.locator('.details th').allTextContents();
  assert.ok(listed.includes('Temperature') && !listed.includes('Samples') && !listed.includes('Guided'), String(listed));
});

test('the same seed gives the same text again', async () => {
  const page = await house.visitor();
  await open(page, '/pretrain');
  await the(page, 'prompt').fill(PROMPT);
  await parameters(page, { temperature: 0.9, max_new_tokens: 24, seed: 42 });
  const texts = [];
  for (let i = 0; i < 2; i += 1) {
    await the(page, 'run').click();
    await quiet(page);
    await ended(page);
    texts.push(await the(page, 'output').textContent());
  }
  assert.ok(texts[0].length > 0);
  assert.equal(texts[1], texts[0]);
});

for (const [how, stop] of [
  ['the button', (page) => the(page, 'stop').click()],
  ['Escape', (page) => page.keyboard.press('Escape')],
]) {
  test(`stopping by ${how} keeps the text so far, on the page and on disk`, async () => {
    const page = await house.visitor();
    await open(page, '/pretrain');
    await the(page, 'prompt').fill(PROMPT);
    await parameters(page, LONG);
    await the(page, 'run').click();
    await grownBeyond(page, 60);
    await stop(page);
    const [end] = await ended(page, { timeout: 10_000 });
    assert.deepEqual(end, { status: 'cancelled', finish: 'cancelled' });
    // A page as the server sends it has every line end as one character.
    const output = async () => (await the(page, 'output').textContent()).replaceAll(/\r\n?/g, '\n');
    const text = await output();
    assert.ok(text.length > 60);
    assert.match(await the(page, 'run-line').textContent(), /Stopped by you; the text so far is kept/);

    await reload(page);
    assert.equal(await output(), text);
    assert.equal(await the(page, 'prompt').inputValue(), PROMPT, 'and the prompt is there to run again');
  });
}

test('Ctrl+Enter runs; Enter while an input method composes does not', async () => {
  const page = await house.visitor();
  await open(page, '/pretrain');
  const prompt = the(page, 'prompt');
  await prompt.fill('The capital of France is');
  await parameters(page, { max_new_tokens: 4 });
  await prompt.evaluate((box) => {
    const options = { key: 'Enter', bubbles: true, cancelable: true };
    box.dispatchEvent(new KeyboardEvent('keydown', { ...options, isComposing: true }));
    box.dispatchEvent(new KeyboardEvent('keydown', { ...options, isComposing: true, ctrlKey: true }));
  });
  await page.waitForTimeout(300);
  assert.equal(await the(page, 'run-line').count(), 0, 'nothing ran');

  await prompt.press('Control+Enter');
  const [end] = await ended(page);
  assert.equal(end.status, 'finished');
});

test('a published case fills the box with one click', async () => {
  const page = await house.visitor();
  await open(page, '/pretrain');
  assert.equal(await the(page, 'case').count(), 18);
  const first = the(page, 'case').first();
  await first.click();
  assert.equal(await the(page, 'prompt').inputValue(), await first.textContent());
});

test('an instruction typed here gets a hint that Extract is the place for it', async () => {
  const page = await house.visitor();
  await open(page, '/pretrain');
  await the(page, 'prompt').fill('Extract all entities from the following text: Ada met Charles.');
  await the(page, 'instruction-hint').waitFor();
  assert.equal(await the(page, 'instruction-hint').getByRole('link').getAttribute('href'), '/lora');
  await the(page, 'prompt').fill(PROMPT);
  await the(page, 'instruction-hint').waitFor({ state: 'detached' });
});
