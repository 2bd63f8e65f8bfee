// LoRA mode: records are found in a text, marked in it, and judged.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { ended, examples, open, openHouse, quiet, reload, the } from './lib/house.mjs';

const house = openHouse();

/** Opens the page, takes the first example and runs it. */
async function extracted(page) {
  await open(page, '/lora');
  await the(page, 'example').first().click();
  await the(page, 'run').click();
  const [end] = await ended(page);
  assert.deepEqual(end, { status: 'finished', finish: 'stop' });
  return page;
}

const records = (page) => the(page, 'output').locator('[data-testid="record"]');
const counts = async (page) => {
  const text = await the(page, 'output').locator('[data-testid="counts"]').textContent();
  const number = (word) => Number(text.match(new RegExp(`${word} (\\d+)`))[1]);
  return { found: number('found'), right: number('right'), wrong: number('wrong'), missed: number('missed') };
};

test('the start page shows a real answer of the shipped example', async () => {
  const page = await house.visitor();
  await open(page, '/');
  await the(page, 'warmup').waitFor({ timeout: 30_000 });
  assert.ok((await the(page, 'warmup').locator('[data-testid="entity"]').count()) > 0);
});

test('the words of every record are marked in the text, and stand in a table', async () => {
  const [example] = examples();
  const page = await extracted(await house.visitor());
  const marked = await the(page, 'output').locator('[data-testid="entity"]').allTextContents();
  for (const words of example.finds) assert.ok(marked.includes(words), `"${words}" is not marked; these are: ${marked}`);
  const rows = await records(page).allTextContents();
  for (const words of example.finds) assert.ok(rows.some((row) => row.includes(words)), `no record "${words}": ${rows}`);
  assert.equal((await counts(page)).found, rows.length);
});

test('the raw answer and the exact prompt are one click away', async () => {
  const page = await extracted(await house.visitor());
  const raw = the(page, 'output').locator('[data-testid="raw"]');
  assert.equal(await raw.isVisible(), false);
  await the(page, 'output').getByText('Raw answer').click();
  assert.match(await raw.textContent(), /^\(.+, .+\)/);
  await the(page, 'output').getByText('Exact prompt').click();
  const prompt = await the(page, 'output').locator('[data-testid="exact-prompt"]').textContent();
  assert.match(prompt, /^Below is an instruction .*### Instruction:\n.*\n\n### Input:\n.*\n\n### Response:\n$/s);
  assert.ok(prompt.includes(examples()[0].text));
});

test('records are judged by mouse and by key, counted, and kept', async () => {
  const page = await extracted(await house.visitor());
  const { found } = await counts(page);
  assert.ok(found >= 2, 'the first example has at least two records');
  assert.deepEqual(await counts(page), { found, right: 0, wrong: 0, missed: 0 });

  await records(page).nth(0).locator('[data-testid="mark-right"]').click();
  assert.deepEqual(await counts(page), { found, right: 1, wrong: 0, missed: 0 });
  await records(page).nth(1).focus();
  await page.keyboard.press('n');
  assert.deepEqual(await counts(page), { found, right: 1, wrong: 1, missed: 0 });
  await page.keyboard.press('y');
  assert.deepEqual(await counts(page), { found, right: 2, wrong: 0, missed: 0 });
  await page.keyboard.press('u');
  assert.deepEqual(await counts(page), { found, right: 1, wrong: 0, missed: 0 });
  await page.keyboard.press('ArrowUp');
  assert.ok(await records(page).nth(0).evaluate((row) => row === document.activeElement), 'arrows move');

  await quiet(page);
  await reload(page);
  assert.deepEqual(await counts(page), { found, right: 1, wrong: 0, missed: 0 }, 'judgements are on disk');
});

test('a record is corrected, and a missed one added', async () => {
  const page = await extracted(await house.visitor());
  const before = await counts(page);
  const raw = await the(page, 'output').locator('[data-testid="raw"]').textContent();

  await records(page).nth(0).focus();
  await page.keyboard.press('e');
  await the(page, 'edit-type').fill('corrected type');
  await the(page, 'edit-type').press('Enter');
  await the(page, 'editor').waitFor({ state: 'detached' });
  assert.match(await records(page).nth(0).textContent(), /→ .*corrected type/);
  const corrected = await counts(page);
  assert.equal(corrected.found, before.found);
  assert.equal(corrected.wrong, before.wrong + 1);
  assert.equal(corrected.missed, before.missed + 1, 'what it should have been was missed');

  await the(page, 'add-record').click();
  await the(page, 'edit-words').fill('something the model missed');
  await the(page, 'edit-save').click();
  await page.getByText('Added by you').waitFor();
  assert.equal((await counts(page)).missed, corrected.missed + 1);

  assert.equal(
    await the(page, 'output').locator('[data-testid="raw"]').textContent(),
    raw,
    'judgements are kept apart from the answer',
  );
});

test('a type that was not taught may be used, and says so', async () => {
  const page = await house.visitor();
  await open(page, '/lora');
  await the(page, 'example').first().click();
  const add = page.getByPlaceholder('+ type').first();
  await add.fill('spaceship');
  await add.press('Enter');
  assert.match(await page.locator('label.chip.untaught').textContent(), /spaceship.*not taught: check results/);
  assert.match(await the(page, 'instruction').inputValue(), /spaceship/, 'and it is asked for');
});

test('the instruction can be edited, and is sent as edited', async () => {
  const page = await house.visitor();
  await open(page, '/lora');
  await the(page, 'example').first().click();
  const made = await the(page, 'instruction').inputValue();
  await the(page, 'instruction').fill(`${made} Be brief.`);
  await the(page, 'run').click();
  await ended(page);
  const prompt = await the(page, 'output').locator('[data-testid="exact-prompt"]').textContent();
  assert.ok(prompt.includes(`${made} Be brief.`));
});

test('several pasted lines are one text or several, as the page asks in place', async () => {
  const page = await house.visitor();
  await open(page, '/lora');
  await the(page, 'example').first().click();
  assert.equal(await the(page, 'splitter').count(), 0);
  await the(page, 'input').fill('Ada Lovelace lived in London.\nMarie Curie moved to Paris.');
  await the(page, 'splitter').getByLabel('2 texts').check();
  await the(page, 'run').click();
  await page.waitForFunction(() => document.querySelectorAll('[data-testid="run-line"]').length === 2);
  assert.equal((await ended(page)).length, 2);
  const marked = await the(page, 'output').locator('.marked').allTextContents();
  assert.deepEqual(marked.sort(), ['Ada Lovelace lived in London.', 'Marie Curie moved to Paris.']);
});

test('a free instruction needs no text', async () => {
  const page = await house.visitor();
  await open(page, '/lora');
  await page.getByLabel('Free instruction').check();
  await the(page, 'instruction').fill('Name the capital of France.');
  await the(page, 'param-max-new-tokens').fill('16');
  await the(page, 'run').click();
  const [end] = await ended(page);
  assert.equal(end.status, 'finished');
  assert.doesNotMatch(await the(page, 'exact-prompt').first().textContent(), /### Input/);
});
