// Base and tuned on one text, side by side.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { ended, examples, open, openHouse, the } from './lib/house.mjs';

const house = openHouse();

async function compared(page, before = async () => {}) {
  await open(page, '/compare');
  await the(page, 'example').first().click();
  await the(page, 'param-max-new-tokens').fill('96');
  await before();
  await the(page, 'run').click();
}

test('both columns stream at once, name their checkpoint, and got the identical prompt', async () => {
  const page = await house.visitor();
  await compared(page);
  await page.waitForFunction(
    () => {
      const text = (id) => document.querySelector(`[data-testid="${id}"]`)?.textContent ?? '';
      const lines = [...document.querySelectorAll('[data-testid="run-line"]')];
      return (
        text('output-base') && text('output-lora') && lines.length === 2 && lines.every((l) => l.dataset.status === 'running')
      );
    },
    undefined,
    { timeout: 60_000 },
  );
  await ended(page);

  const titles = await page.locator('.column h3').allTextContents();
  assert.match(titles[0], /SmolLM2-135M-Instruct, no adapter/);
  assert.match(titles[1], /SmolLM2-135M-Instruct \+ ie-smollm2/);
  const prompts = await the(page, 'exact-prompt').allTextContents();
  assert.equal(prompts[0], prompts[1]);
  assert.match(await the(page, 'same-prompt').textContent(), /identical prompt, parameters and seed/);
});

test('records stand under both, only base or only tuned; judging one moves the headline', async () => {
  const page = await house.visitor();
  await compared(page);
  await ended(page);

  const rows = await page.locator('table.records tr').evaluateAll((rows) => {
    let group = '';
    const found = [];
    for (const row of rows) {
      if (row.matches('.group')) group = row.textContent;
      else found.push([group, row.textContent]);
    }
    return found;
  });
  const under = (words) => rows.filter(([, text]) => text.includes(words)).map(([group]) => group);
  for (const words of examples()[0].finds) {
    assert.equal(under(words).length, 1, `"${words}" stands once: ${JSON.stringify(rows)}`);
    assert.match(under(words)[0], /^(Found by both|Only the tuned model)$/);
  }

  const headline = async () =>
    the(page, 'headline').locator('tr').evaluateAll((rows) => rows.map((r) => [...r.children].map((c) => c.textContent)));
  const [head, , tuned] = await headline();
  assert.match(head[0], /judged 0\/1/);
  assert.deepEqual(head.slice(1), ['usable', 'found', 'right', 'wrong', 'missed', 'precision', 'recall', 'F1']);
  assert.equal(tuned[1], '1/1');
  assert.ok(Number(tuned[2]) >= 2);
  assert.equal(tuned[3], '0');

  const row = the(page, 'record').filter({ hasText: examples()[0].finds[0] });
  await row.locator('[data-testid="mark-right"]').click();
  const [headAfter, , tunedAfter] = await headline();
  assert.match(headAfter[0], /judged 1\/1/);
  assert.equal(tunedAfter[3], '1');
  assert.deepEqual(tunedAfter.slice(6), ['100.0 %', '100.0 %', '100.0 %'], 'precision, recall and F1 over what is judged');
});

test('one against the other is scored, and what they agree on can be left out', async () => {
  const page = await house.visitor();
  await compared(page);
  await ended(page);
  const agreement = await the(page, 'agreement').textContent();
  const [, both, base, tuned] = agreement.match(/both (\d+), only base (\d+), only tuned (\d+)/).map(Number);
  const f1 = (200 * both) / (2 * both + base + tuned);
  assert.ok(agreement.includes(`${f1.toFixed(1)} %`), agreement);
  assert.ok(tuned + both >= 2);

  const groups = () => page.locator('table.records tr.group').allTextContents();
  await the(page, 'only-changed').check();
  assert.ok(!(await groups()).includes('Found by both'));
  if (base + tuned > 0) assert.equal(await the(page, 'comparison').isVisible(), true);
  else assert.equal(await the(page, 'comparison').isVisible(), false, 'a text without differences is not shown');
  await the(page, 'only-changed').uncheck();
  assert.equal((await groups()).includes('Found by both'), both > 0);
});

test('a switch gives the base the text alone, and the page says so', async () => {
  const page = await house.visitor();
  await compared(page, () => the(page, 'raw-base').check());
  await ended(page);
  const [base, tuned] = await the(page, 'exact-prompt').allTextContents();
  assert.equal(base, examples()[0].text);
  assert.match(tuned, /### Instruction/);
  assert.match(await the(page, 'same-prompt').textContent(), /The base got the text alone/);
});

test('both columns are asked in the format that is chosen', async () => {
  const page = await house.visitor();
  await compared(page, async () => {
    await the(page, 'format-options').locator('summary').click();
    await the(page, 'format').selectOption('angles');
  });
  await ended(page);
  const [base, tuned] = await the(page, 'exact-prompt').allTextContents();
  assert.equal(base, tuned);
  assert.match(tuned, /Answer as <entity, type> pairs/);
});
