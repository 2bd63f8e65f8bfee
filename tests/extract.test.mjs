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
  await page.keyboard.press('2');
  assert.deepEqual(await counts(page), { found, right: 1, wrong: 1, missed: 0 });
  await page.keyboard.press('1');
  assert.deepEqual(await counts(page), { found, right: 2, wrong: 0, missed: 0 });
  await page.keyboard.press('0');
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

const DEAL = 'In May 2019 Acme Corp bought Beta Ltd from Jane Miller for $3.5 billion. Jane Miller had founded Beta Ltd in Oslo.';

/** Opens the page, asks for a whole schema, and types a text. */
async function whole(page, schema, text) {
  await open(page, '/lora');
  await the(page, 'task-all').check();
  await the(page, 'schema').selectOption(schema);
  await the(page, 'input').fill(text);
}

test('a file is opened into the box, chosen or dropped; a table goes to Batch, and what cannot be read says why', async () => {
  const page = await house.visitor({ expected: [/status of 400/] });
  await open(page, '/lora');
  const choose = (name, text) => the(page, 'open-text').setInputFiles({ name, mimeType: 'text/plain', buffer: Buffer.from(text) });
  const text = () => the(page, 'input').inputValue();
  await choose('note.html', '<h1>News</h1><p>Ada Lovelace met Charles Babbage &amp; co.</p>');
  await the(page, 'file-opened').waitFor();
  const first = await text();
  assert.match(first, /Ada Lovelace met Charles Babbage & co\./);
  assert.equal(await the(page, 'file-undo').count(), 0, 'there was nothing before');

  await the(page, 'input').evaluate((box) => {
    const dataTransfer = new DataTransfer();
    dataTransfer.items.add(new File(['阳光城集团正在收购协信地产。'], '消息.txt', { type: 'text/plain' }));
    for (const type of ['dragover', 'drop']) box.dispatchEvent(new DragEvent(type, { dataTransfer, bubbles: true, cancelable: true }));
  });
  await the(page, 'file-opened').filter({ hasText: '消息.txt' }).waitFor();
  assert.equal(await text(), '阳光城集团正在收购协信地产。');
  assert.match(await the(page, 'instruction').inputValue(), /类型/, 'the page follows its language');
  await the(page, 'file-undo').click();
  assert.equal(await text(), first);

  await choose('broken.pdf', '%PDF-1.4 and nothing else');
  assert.match(await the(page, 'file-refused').textContent(), /broken\.pdf /);
  await choose('tool.exe', 'MZ');
  await the(page, 'file-refused').filter({ hasText: 'tool.exe is of no known kind' }).waitFor();
  assert.equal(await text(), first, 'what was there stays');

  await choose('people.csv', 'id,text\na,Ada\nb,Bob\n');
  assert.match(await the(page, 'file-table').textContent(), /people\.csv is a table of 2 rows/);
  await the(page, 'file-table').locator('a').click();
  await page.waitForURL(/\/batch\?upload=/);
  assert.equal(await the(page, 'upload-name').textContent(), 'people.csv');
});

/** The instructions that a whole schema comes to, as they stand on the page. */
const wordings = (page) => the(page, 'question-text').evaluateAll((boxes) => boxes.map((box) => box.value));

test('the instructions of a whole schema are seen and can be changed: own words are asked, kept, and can be taken back', async () => {
  const page = await house.visitor();
  await whole(page, 'finance-en', DEAL);
  const made = await wordings(page);
  assert.equal(made.length, 3);
  assert.equal(await the(page, 'question-edited').count(), 0);
  const own = 'Who founded or bought what? Answer as (head, relation, tail) triples.';
  await the(page, 'question-text').nth(1).fill(own);
  assert.match(await the(page, 'question').nth(1).textContent(), /your own words.*Not guided/s);
  assert.equal(await the(page, 'question-edited').count(), 1, 'the others are as they were');
  await the(page, 'prompt-preview').locator('summary').click();
  await the(page, 'preview').nth(2).waitFor();
  const previews = await the(page, 'preview').allTextContents();

  // Own words belong to their types: others are asked in the made words, and these come back.
  const relation = page.locator('.whole .chips').nth(1).locator('.chip').first();
  await relation.click();
  assert.equal(await the(page, 'question-edited').count(), 0);
  await relation.click();
  assert.deepEqual(await wordings(page), [made[0], own, made[2]]);

  await the(page, 'run').click();
  await ended(page);
  const card = the(page, 'output').locator('.card');
  assert.deepEqual(await card.locator('[data-testid="exact-prompt"]').allTextContents(), previews, 'what was shown is what was asked');
  assert.match(await card.locator('[data-testid="guided"]').textContent(), /2\/3/, 'the question in own words alone is not guided');

  await reload(page);
  assert.deepEqual(await wordings(page), [made[0], own, made[2]], 'it is stored with the runs');
  await the(page, 'question-reset').click();
  assert.deepEqual(await wordings(page), made);
  await the(page, 'question-text').first().fill('  ');
  await the(page, 'run').click();
  await the(page, 'error').filter({ hasText: 'Type an instruction first' }).waitFor();
});

test('a schema of no language is shown in the language in which it will be asked', async () => {
  const page = await house.visitor();
  const saved = await page.request.post('/schemas', {
    form: { id: '', name: 'Either', text: '{"entities": ["person", "机构"]}' },
    headers: { origin: house.studio.url },
    maxRedirects: 0,
  });
  const id = saved.headers().location.split('/').pop();
  await whole(page, id, 'Ada Lovelace met Charles Babbage.');
  const untaught = () => page.locator('.whole label.chip.untaught').allTextContents();
  assert.match((await wordings(page)).join(), /^List every entity/);
  assert.match((await untaught()).join(), /机构/);
  await the(page, 'input').fill('阳光城集团正在收购协信地产。');
  assert.match((await wordings(page)).join(), /^按出现顺序列出文本中的实体/);
  assert.match((await untaught()).join(), /person/);
  await the(page, 'run').click();
  await ended(page);
  const shown = await wordings(page);
  assert.ok((await the(page, 'exact-prompt').first().textContent()).includes(shown[0]), 'so it was asked');

  await the(page, 'input').fill('阳光城集团正在收购协信地产。\nAda Lovelace met Charles Babbage.');
  await the(page, 'splitter').getByLabel('2 texts').check();
  assert.equal((await wordings(page)).length, 2, 'each text in its own');
});

test('a pasted list of types becomes as many chips, and their order can be changed with keys and buttons', async () => {
  const page = await house.visitor();
  await open(page, '/lora');
  await the(page, 'example').first().click();
  const names = (row) => row.locator('.chip input').evaluateAll((chips) => chips.map((chip) => chip.value));
  const row = page.locator('.schema .chips').filter({ has: page.locator('.chip-new') }).first();
  const before = await names(row);
  await page.getByPlaceholder('+ type').first().fill('spaceship, 行星、moon\nstar');
  await page.getByPlaceholder('+ type').first().press('Enter');
  assert.deepEqual(await names(row), [...before, 'spaceship', '行星', 'moon', 'star']);
  await row.locator('input[value="star"]').focus();
  await page.keyboard.press('Alt+ArrowLeft');
  assert.deepEqual(await names(row), [...before, 'spaceship', '行星', 'star', 'moon']);
  await page.waitForFunction(() => document.activeElement?.value === 'star', undefined, { timeout: 2000 });
  assert.match(await the(page, 'instruction').inputValue(), /行星, star, moon/, 'it is asked in this order');

  await the(page, 'task-all').check();
  await the(page, 'schema').selectOption('finance-en');
  const events = page.locator('.whole .chips').nth(2);
  const was = await names(events);
  await page.getByPlaceholder('+ event: role, role').fill('strike: place\nscandal: person, date');
  await page.getByPlaceholder('+ event: role, role').press('Enter');
  assert.deepEqual(await names(events), [...was, 'strike', 'scandal']);
  await events.locator('[data-testid="chip-order"]').click();
  await events.locator('.sooner').last().click();
  assert.deepEqual(await names(events), [...was, 'scandal', 'strike']);
  await page.waitForFunction(() => document.activeElement?.classList.contains('sooner'), undefined, { timeout: 2000 });
});

test('the raw answer shows the place that an issue is about, for mouse and keyboard', async () => {
  const page = await house.visitor();
  await open(page, '/lora');
  await the(page, 'input').fill('Ada Lovelace met Charles Babbage in London.');
  await the(page, 'instruction').fill('Write one sentence about the sea.');
  await the(page, 'param-max-new-tokens').fill('24');
  await the(page, 'run').click();
  await ended(page);
  await the(page, 'output').getByText('Raw answer', { exact: true }).click();
  const place = the(page, 'issue-place').first();
  await place.focus();
  const said = await place.getAttribute('title');
  assert.match(said, /The answer holds other text|Not in the asked format|Not asked for|broke off/);
  assert.ok((await the(page, 'raw').textContent()).includes(await place.textContent()));
  const shown = await place.evaluate((mark) => getComputedStyle(mark, '::after').content);
  assert.ok(shown.includes(said.slice(0, 20)), `it is said where the focus is: ${shown}`);
});

test('one button asks a whole schema: entities, relations and events stand in one card', async () => {
  const page = await house.visitor();
  await whole(page, 'finance-en', DEAL);
  assert.match(await the(page, 'instructions').textContent(), /\(3\)/);
  const asked = await wordings(page);
  assert.match(asked.join('\n'), /^List every entity.*\nList the relations.*\nList the events/);
  await the(page, 'run').click();
  assert.deepEqual(await ended(page), [{ status: 'finished', finish: 'stop' }]);

  const card = the(page, 'output').locator('.card');
  assert.equal(await card.count(), 1);
  const answers = await card.locator('[data-testid="raw"]').allTextContents();
  assert.equal(answers.length, 3, 'every answer is there');
  const prompts = await card.locator('[data-testid="exact-prompt"]').allTextContents();
  assert.equal(new Set(prompts).size, 3);
  assert.ok(prompts.every((prompt) => prompt.includes(DEAL)));
  assert.match(await card.locator('.asked').textContent(), /Finance/);
  const marked = await card.locator('[data-testid="entity"]').allTextContents();
  assert.ok(marked.join(' ').includes('Acme Corp'), `not marked; these are: ${marked}`);
  const { found } = await counts(page);
  assert.equal(found, await records(page).count());
});

test('a long text is read part by part, and every record stands at its place', async () => {
  const names = ['Ada Lovelace', 'Alan Turing', 'Grace Hopper', 'Marie Curie', 'Niels Bohr', 'Emmy Noether'];
  const text = Array.from({ length: 12 }, (_, n) => `${names[n % 6]} travelled to Vienna in ${1901 + n}, where the weather was fine and the trains were late.`).join(' ');
  const page = await house.visitor();
  await whole(page, 'people-places-organizations-en', text);
  await the(page, 'run').click();
  assert.deepEqual(await ended(page), [{ status: 'finished', finish: 'stop' }]);
  const answers = await the(page, 'output').locator('[data-testid="raw"]').count();
  assert.ok(answers >= 6, `it was read in ${answers} parts`);
  assert.equal((await the(page, 'output').locator('.marked').allTextContents()).join(''), text, 'the text is whole');
  const rows = await records(page).allTextContents();
  for (const name of names) {
    const of = rows.filter((row) => row.trim().startsWith(name));
    assert.equal(of.length, 1, `${name}: ${rows}`);
  }
  assert.equal(new Set(rows).size, rows.length, `once each: ${rows}`);
  const session = page.url();

  await reload(page);
  assert.equal(page.url(), session);
  assert.deepEqual(await records(page).allTextContents(), rows, 'it is all on disk');
  assert.ok(await the(page, 'task-all').isChecked(), 'and asked again it would be the same schema');
  assert.equal(await the(page, 'schema').inputValue(), 'people-places-organizations-en');
});

test('chips can be left out and added, and kept as a schema of one\'s own', async () => {
  const page = await house.visitor();
  await whole(page, 'finance-en', DEAL);
  const add = page.getByPlaceholder('+ event: role, role');
  await add.fill('lawsuit: plaintiff, defendant');
  await add.press('Enter');
  assert.match(await page.locator('label.chip.untaught', { hasText: 'lawsuit' }).textContent(), /plaintiff, defendant.*not taught/);
  await page.locator('.whole label.chip').first().click();
  const dropped = await page.locator('.whole label.chip').first().locator('input').isChecked();
  assert.equal(dropped, false);
  assert.equal(await the(page, 'save-as-schema').count(), 1);
  await the(page, 'save-as-schema').click();
  await the(page, 'schema-name').fill('My deals');
  await the(page, 'schema-save').click();
  await page.waitForFunction(() => document.querySelector('#schema')?.selectedOptions[0]?.textContent === 'My deals v1');
  assert.equal(await page.locator('.whole label.chip input:not(:checked)').count(), 0, 'what was left out is not in it');
  await the(page, 'run').click();
  await ended(page);
  assert.match(await the(page, 'output').locator('.asked').first().textContent(), /My deals v1/);
});

test('without scripts a whole schema is chosen from the list', async () => {
  const page = await house.visitor({ javaScriptEnabled: false });
  await page.goto('/lora');
  await page.locator('input[name="task"][value="all"]').check();
  await the(page, 'schema').selectOption('finance-en');
  await the(page, 'input').fill(DEAL);
  await the(page, 'run').click();
  await page.waitForURL('**/sessions/*');
  const refresh = page.locator('meta[http-equiv="refresh"]');
  const deadline = Date.now() + 60_000;
  while ((await refresh.count()) > 0) {
    assert.ok(Date.now() < deadline, 'the runs do not end');
    await page.waitForTimeout(300);
  }
  assert.equal(await the(page, 'run-line').count(), 1, 'one extraction, one line');
  assert.ok((await the(page, 'entity').count()) > 0);
});
