// How the pages look: pictures of all of them for people, and what can be checked without eyes.
import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

import { ended, open, openHouse, the } from './lib/house.mjs';
import { root } from './lib/studio.mjs';

const house = openHouse();
const folder = join(root, 'tests/screenshots');
mkdirSync(folder, { recursive: true });

const SIZES = { desktop: { width: 1280, height: 800 }, phone: { width: 390, height: 844 } };
const LANGUAGES = { en: 'en-US', zh: 'zh-CN' };

/** Fills the program with something to see; returns the pages by name. */
async function furnished() {
  const page = await house.visitor();
  const session = async (path, before) => {
    await open(page, path);
    await before();
    await the(page, 'run').click();
    await the(page, 'this-session').waitFor();
    await ended(page);
    return (await the(page, 'this-session').getAttribute('href')).split('/').pop();
  };
  const example = () => the(page, 'example').first().click();
  const complete = await session('/pretrain', async () => {
    await the(page, 'case').first().click();
    await the(page, 'param-max-new-tokens').fill('64');
  });
  const compare = await session('/compare', example);
  const extract = await session('/lora', example);
  await the(page, 'mark-right').first().click();
  await the(page, 'mark-wrong').nth(1).click();
  await the(page, 'add-record').click();
  await the(page, 'edit-words').fill(`https://example.org/${'a-word-that-is-wider-than-any-page'.repeat(6)}`);
  await the(page, 'edit-save').click();
  await page.getByText('Added by you').waitFor();
  await the(page, 'share').click();
  const link = await the(page, 'share-link').getAttribute('href');
  // A whole schema with a question in own words; a schema with a link; a batch before it begins.
  const whole = await session('/lora', async () => {
    await the(page, 'task-all').check();
    await the(page, 'schema').selectOption('finance-en');
    await the(page, 'input').fill('In May 2019 Acme Corp bought Beta Ltd from Jane Miller for $3.5 billion.');
    await page.getByPlaceholder('+ type').first().fill('spaceship, a name that is rather long for a type of things');
    await page.getByPlaceholder('+ type').first().press('Enter');
    await the(page, 'question-text').nth(1).fill('Who bought what? Answer as (head, relation, tail) triples.');
  });
  const text = '{"language": "en", "entities": [{"name": "person", "description": "Somebody with a name.", "examples": ["Ada"]}, "机构"], "relations": [{"name": "founder", "head": "person", "tail": "机构"}], "events": {"merger": ["buyer", "seller"]}}';
  const headers = { origin: house.studio.url };
  const saved = await page.request.post('/schemas', { form: { id: '', name: 'Desk', text }, headers, maxRedirects: 0 });
  const schema = saved.headers().location;
  await open(page, schema);
  await the(page, 'share').click();
  const schemaLink = await the(page, 'share-link').getAttribute('href');
  await page.goto('/batch');
  await the(page, 'pasted').fill('id\ttext\na\tAda Lovelace met Charles Babbage.\nb\tMarie Curie came to Paris.');
  await page.locator('input[name="as"][value="table"]').check();
  await the(page, 'upload').click();
  await the(page, 'preview').waitFor();
  const choice = new URL(page.url());
  return {
    start: '/',
    whole: `/lora?session=${whole}`,
    schema,
    'shared-schema': new URL(schemaLink).pathname,
    'batch-choice': `${choice.pathname}${choice.search}`,
    differs: `/sessions/${compare}/review?order=differs`,
    check: `/sessions/${extract}/review?check=1`,
    extract: `/lora?session=${extract}`,
    compare: `/compare?session=${compare}`,
    complete: `/pretrain?session=${complete}`,
    sessions: '/sessions',
    session: `/sessions/${extract}`,
    review: `/sessions/${extract}/review`,
    graph: `/sessions/${extract}/graph`,
    scores: `/sessions/${extract}/scores`,
    batch: '/batch',
    model: '/admin',
    shared: new URL(link).pathname,
  };
}

let pages;
for (const colorScheme of ['light', 'dark']) {
  for (const [size, viewport] of Object.entries(SIZES)) {
    for (const [language, locale] of Object.entries(LANGUAGES)) {
      test(`every page in ${colorScheme}, ${size}, ${language}`, async () => {
        pages ??= await furnished();
        const page = await house.visitor({ colorScheme, viewport, locale });
        for (const [name, path] of Object.entries(pages)) {
          await open(page, path);
          await page.screenshot({ path: join(folder, `${name}-${size}-${colorScheme}-${language}.png`), fullPage: true });

          const { wide, width } = await page.evaluate(() => {
            const width = document.documentElement.clientWidth;
            const wide = [...document.querySelectorAll('body *')]
              .filter((e) => e.getBoundingClientRect().right > width + 1 && getComputedStyle(e).position !== 'absolute')
              .map((e) => `${e.tagName.toLowerCase()}.${e.className}`);
            return { wide: document.documentElement.scrollWidth > width ? wide : [], width };
          });
          assert.deepEqual(wide, [], `${name}: nothing is wider than the page's ${width} pixels`);
          const active = page.locator('header nav [aria-current="page"]');
          if (['extract', 'compare', 'batch', 'complete', 'sessions'].includes(name)) assert.equal(await active.count(), 1, `${name}: its own tab`);
          for (const tab of await active.all()) {
            const { x, width: wide } = await tab.boundingBox();
            assert.ok(x >= 0 && x + wide <= width, `${name}: the page's own tab is in sight`);
          }
          assert.equal(await page.locator('html').getAttribute('lang'), language, `${name}: its language`);
          assert.equal(await page.locator('h1').count(), 1, `${name}: one main heading`);
          const nav = await page.locator('nav').first().textContent();
          assert.match(nav, language === 'zh' ? /抽取.*对比.*续写.*抽取会话/ : /Extract.*Compare.*Complete.*Sessions/);
        }
      });
    }
  }
}

test('text can be read: every word has a contrast of at least 4.5 to what is behind it', async () => {
  pages ??= await furnished();
  for (const colorScheme of ['light', 'dark']) {
    const page = await house.visitor({ colorScheme });
    for (const [name, path] of Object.entries(pages)) {
      await open(page, path);
      assert.deepEqual(await page.evaluate(poorContrast), [], `${name}, ${colorScheme}`);
    }
  }
});

test('every field and button has a name that a screen reader can say', async () => {
  pages ??= await furnished();
  const page = await house.visitor();
  for (const [name, path] of Object.entries(pages)) {
    await open(page, path);
    const nameless = await page.evaluate(() =>
      [...document.querySelectorAll('button, input:not([type=hidden]), textarea, select, a[href]')]
        .filter((e) => {
          const labels = [...(e.labels ?? [])].map((l) => l.textContent).join('');
          return !(labels + e.textContent + (e.getAttribute('aria-label') ?? '') + (e.title ?? '')).trim();
        })
        .map((e) => e.outerHTML.slice(0, 120)),
    );
    assert.deepEqual(nameless, [], name);
  }
});

test('the switches change language and theme, and are remembered', async () => {
  const page = await house.visitor({ colorScheme: 'light' });
  await open(page, '/lora');
  const background = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const light = await background();
  await the(page, 'theme').click();
  const dark = await background();
  assert.notEqual(dark, light);
  await the(page, 'language').click();
  await page.getByRole('link', { name: '抽取会话' }).waitFor();

  await page.reload();
  assert.equal(await background(), dark);
  assert.match(await page.locator('header nav').textContent(), /抽取会话/);
});

test('parameters are there on a wide page and behind a click on a narrow one, with scripts and without', async () => {
  for (const javaScriptEnabled of [true, false]) {
    for (const [size, viewport] of Object.entries(SIZES)) {
      const page = await house.visitor({ javaScriptEnabled, viewport });
      if (javaScriptEnabled) await open(page, '/lora');
      else await page.goto('/lora');
      const field = the(page, 'param-temperature');
      assert.equal(await field.isVisible(), size === 'desktop', `${size}, scripts: ${javaScriptEnabled}`);
      if (size === 'phone') {
        await the(page, 'parameters').locator('summary').click();
        assert.ok(await field.isVisible());
      }
    }
  }
});

/** Runs in the page: texts whose colour is too near to the background's, by WCAG's formula. */
function poorContrast() {
  const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
  const rgba = (color) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = color;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const over = ([r, g, b, a], under) => [r, g, b].map((c, i) => (c * a + under[i] * (255 - a)) / 255);
  const behind = (element) => {
    const layers = [];
    for (let e = element; e; e = e.parentElement) layers.push(rgba(getComputedStyle(e).backgroundColor));
    return layers.reduceRight((under, layer) => over(layer, under), rgba('Canvas').slice(0, 3));
  };
  const luminance = (rgb) => {
    const [r, g, b] = rgb.map((c) => c / 255).map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const poor = [];
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let text = texts.nextNode(); text; text = texts.nextNode()) {
    const element = text.parentElement;
    if (!text.textContent.trim() || !element.checkVisibility() || element.closest('[disabled], .visually-hidden, .skip')) continue;
    const under = behind(element);
    const color = over(rgba(getComputedStyle(element).color), under);
    const [a, b] = [luminance(color), luminance(under)].sort((x, y) => y - x);
    const contrast = (a + 0.05) / (b + 0.05);
    if (contrast < 4.5) poor.push(`${contrast.toFixed(1)}: "${text.textContent.trim().slice(0, 30)}" (${element.tagName.toLowerCase()}.${element.className})`);
  }
  return [...new Set(poor)];
}
