// The main job works with JavaScript off: type, send, read the answer.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { examples, openHouse, the } from './lib/house.mjs';

const house = openHouse();

/** Sends the form and follows the page's own refreshing until the runs have ended. */
async function sent(page) {
  const [answer] = await Promise.all([
    page.waitForResponse((r) => r.request().method() === 'POST'),
    the(page, 'run').click(),
  ]);
  assert.equal(answer.status(), 303, 'reloading the page that follows sends nothing twice');
  await page.waitForURL('**/sessions/*');
  const refresh = page.locator('meta[http-equiv="refresh"]');
  const deadline = Date.now() + 60_000;
  while ((await refresh.count()) > 0) {
    assert.ok(Date.now() < deadline, 'the run does not end');
    await page.waitForTimeout(300);
  }
}

test('a prompt is completed', async () => {
  const page = await house.visitor({ javaScriptEnabled: false });
  await page.goto('/pretrain');
  await the(page, 'prompt').fill('The three primary colours are');
  await the(page, 'param-max-new-tokens').fill('32');
  await sent(page);
  const line = the(page, 'run-line');
  assert.equal(await line.getAttribute('data-status'), 'finished');
  assert.ok(Number((await line.textContent()).match(/answer (\d+) tokens/)[1]) <= 32, 'with the parameters of the form');
  assert.ok((await page.locator('.completion .text').textContent()).trim().length > 0);
});

test('records are extracted and marked', async () => {
  const [example] = examples().filter((e) => /^[\x00-\x7f]+$/.test(e.text));
  const page = await house.visitor({ javaScriptEnabled: false });
  await page.goto('/lora');
  await the(page, 'input').fill(example.text);
  await sent(page);
  assert.ok((await the(page, 'entity').count()) > 0);
});

test('base and tuned are compared', async () => {
  const page = await house.visitor({ javaScriptEnabled: false });
  await page.goto('/compare');
  await the(page, 'input').fill('Ada Lovelace worked with Charles Babbage in London.');
  await the(page, 'param-max-new-tokens').fill('48');
  await sent(page);
  assert.equal(await the(page, 'output-base').count(), 1);
  assert.ok((await the(page, 'output-lora').textContent()).length > 0);
});

test('a run going on can be stopped', async () => {
  const page = await house.visitor({ javaScriptEnabled: false });
  await page.goto('/pretrain');
  await the(page, 'prompt').fill('A very long story:');
  for (const [name, value] of [['temperature', '1.3'], ['top-p', '1'], ['top-k', '0'], ['max-new-tokens', '1500']]) {
    await the(page, `param-${name}`).fill(value);
  }
  await the(page, 'run').click();
  await page.waitForURL('**/sessions/*');
  await the(page, 'stop').click();
  const deadline = Date.now() + 20_000;
  while ((await the(page, 'run-line').getAttribute('data-status')) !== 'cancelled') {
    assert.ok(Date.now() < deadline, 'it was not stopped');
    await page.waitForTimeout(300);
  }
});

test('what is wrong is said on a page that keeps what was typed', async () => {
  const page = await house.visitor({ javaScriptEnabled: false, expected: [/status of 4\d\d/] });
  await page.goto('/pretrain');
  await the(page, 'prompt').fill('   ');
  const [answer] = await Promise.all([
    page.waitForResponse((r) => r.request().method() === 'POST'),
    the(page, 'run').click(),
  ]);
  assert.ok(answer.status() === 303 || (answer.status() >= 400 && answer.status() < 500));
  await page.waitForLoadState();
  assert.match(await page.locator('main').textContent(), /prompt/i);
});

test('language and theme can be switched', async () => {
  const page = await house.visitor({ javaScriptEnabled: false });
  await page.goto('/lora');
  await the(page, 'language').click();
  await page.waitForLoadState();
  assert.match(await page.locator('header nav').textContent(), /抽取/);
  assert.match(page.url(), /\/lora$/, 'on the page one was on');
  await the(page, 'theme').click();
  await page.waitForLoadState();
  assert.equal(await page.locator('html').getAttribute('data-theme'), 'dark');
});
