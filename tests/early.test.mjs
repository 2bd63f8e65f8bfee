// Pages are drawn by the server and can be filled in at once: what is typed or chosen before the browser half has started
// stays, and is what is asked; so is what the browser brings back.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { ended, hydrated, open, openHouse, the } from './lib/house.mjs';

const house = openHouse();

/** Opens a page whose browser half does not come until the function that is given back is called. */
async function held(page, path) {
  let release;
  const wait = new Promise((resolve) => (release = resolve));
  await page.route('**/knowlm.wasm', async (route) => {
    await wait;
    await route.continue();
  });
  await page.goto(path);
  return async () => {
    assert.ok(!(await page.evaluate(() => 'started' in document.documentElement.dataset)), 'it has not started yet');
    release();
    await hydrated(page);
    await page.unroute('**/knowlm.wasm');
  };
}

test('a text typed at once is the one that is run, with what was chosen beside it', async () => {
  const page = await house.visitor();
  const go = await held(page, '/lora');
  const text = 'Ada Lovelace met Charles Babbage in London.';
  await the(page, 'input').fill(text);
  await the(page, 'param-max-new-tokens').fill('77');
  await the(page, 'param-guided').selectOption('off');
  const person = page.locator('.chip').filter({ hasText: /^person$/ }).locator('input');
  await person.uncheck();
  await go();
  assert.equal(await the(page, 'input').inputValue(), text);
  assert.equal(await the(page, 'param-max-new-tokens').inputValue(), '77');
  assert.equal(await the(page, 'param-guided').inputValue(), 'off');
  await the(page, 'asked-together').waitFor();
  assert.ok(!(await person.isChecked()));

  await the(page, 'run').click();
  await ended(page);
  assert.ok((await the(page, 'exact-prompt').first().textContent()).includes(text));
  const found = await the(page, 'record').allTextContents();
  assert.ok(found.length > 0 && !found.some((record) => record.includes('person')), String(found));
  const row = (name) => page.locator('.details tr').filter({ has: page.getByRole('rowheader', { name, exact: true, includeHidden: true }) });
  assert.equal(await row('Max new tokens').locator('td').first().textContent(), '77');
  assert.equal(await row('Guided').locator('td').first().textContent(), 'off');
});

test('a task chosen at once draws its own choices, and an instruction written then stays', async () => {
  const page = await house.visitor();
  const go = await held(page, '/compare');
  await page.getByRole('radio', { name: 'Relations' }).check();
  await the(page, 'instruction').fill('Who knows whom?');
  await go();
  await page.waitForFunction(() => document.querySelector('input[name="task"][value="re"]')?.checked);
  await page.waitForFunction(() => document.querySelector('[data-testid="instruction"]').value === 'Who knows whom?');
});

test('a prompt and a search are kept, with the caret where it was', async () => {
  const page = await house.visitor();
  let go = await held(page, '/pretrain');
  await the(page, 'prompt').click();
  await page.keyboard.type('Once a time,');
  for (let i = 0; i < 7; i += 1) await page.keyboard.press('ArrowLeft');
  await go();
  await page.keyboard.type('upon ');
  assert.equal(await the(page, 'prompt').inputValue(), 'Once upon a time,');
  await the(page, 'param-max-new-tokens').fill('4');
  await the(page, 'run').click();
  await ended(page);
  assert.equal(await page.locator('.completion .prompt').textContent(), 'Once upon a time,');

  go = await held(page, '/sessions');
  await the(page, 'search').fill('no such words anywhere');
  await go();
  await the(page, 'no-sessions').waitFor();
});

test('what the browser brings back with a page is there to run', async () => {
  const page = await house.visitor();
  await open(page, '/pretrain');
  await the(page, 'prompt').fill('The sea is');
  await the(page, 'param-max-new-tokens').fill('5');
  await page.goto('/sessions');
  await page.goBack();
  await hydrated(page);
  await page.waitForFunction(() => document.querySelector('[data-testid="prompt"]').value === 'The sea is');
  assert.equal(await the(page, 'param-max-new-tokens').inputValue(), '5');
  await the(page, 'run').click();
  await ended(page);
  assert.equal(await page.locator('.completion .prompt').textContent(), 'The sea is');
});

test('letters typed while the page starts stay, all of them', async () => {
  const page = await house.visitor();
  const go = await held(page, '/pretrain');
  const text = 'It was a bright cold day in April, and the clocks were striking thirteen. '.repeat(3);
  await (await page.context().newCDPSession(page)).send('Emulation.setCPUThrottlingRate', { rate: 6 });
  await the(page, 'prompt').focus();
  await page.keyboard.type(text.slice(0, 20));
  const typing = page.keyboard.type(text.slice(20), { delay: 10 });
  await go();
  await typing;
  await page.waitForFunction((text) => document.querySelector('[data-testid="prompt"]').value === text, text);
});

test('what was chosen for one task is not put into another, and no instruction counts as written that was not', async () => {
  const page = await house.visitor();
  const go = await held(page, '/lora');
  await page.locator('.chip').filter({ hasText: /^person$/ }).locator('input').uncheck();
  await page.locator('select.topic').selectOption({ index: 1 });
  await page.getByRole('radio', { name: 'Relations' }).check();
  await go();
  assert.ok(await page.getByRole('radio', { name: 'Relations' }).isChecked());
  assert.deepEqual(await page.locator('.chip input[type="checkbox"]').evaluateAll((all) => all.filter((one) => !one.checked).map((one) => one.value)), []);
  assert.notEqual(await page.locator('select.topic').inputValue(), '');
  const made = await the(page, 'instruction').inputValue();

  await page.goto('/sessions');
  await page.goBack();
  await hydrated(page);
  assert.ok(await page.getByRole('radio', { name: 'Relations' }).isChecked());
  assert.equal(await the(page, 'instruction').inputValue(), made);
  assert.equal(await page.locator('.label-row button').count(), 0, 'it is still written from the chips');
});
