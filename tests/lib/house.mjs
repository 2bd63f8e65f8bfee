// A running program and a browser for the tests of one file; and visitors, each with cookies of their
// own. A test fails on anything a visitor's browser complains about.
import assert from 'node:assert/strict';
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { after, afterEach, before } from 'node:test';

import { chromium } from 'playwright-core';

import { root, startStudio } from './studio.mjs';

const CHROMIUM_ARGUMENTS = [
  '--headless',
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

function chromiumPath() {
  if (process.env.CHROMIUM) return process.env.CHROMIUM;
  const folders = ['/usr/bin', ...(process.env.PATH ?? '').split(':')];
  const found = folders.map((folder) => join(folder, 'chromium')).find((path) => existsSync(path));
  assert.ok(found, 'Chromium is missing: install it, or name one in the environment variable CHROMIUM');
  return found;
}

/** Registers the hooks of a test file; `serve: false` when its tests start the program themselves. */
export function openHouse({ serve = true, args = [] } = {}) {
  const house = { studio: null, browser: null, visitor };
  let visitors = [];

  before(async () => {
    house.browser = await chromium.launch({ executablePath: chromiumPath(), args: CHROMIUM_ARGUMENTS });
    if (serve) house.studio = await startStudio({ args });
  });
  after(async () => {
    await house.browser?.close();
    await house.studio?.stop();
  });
  afterEach(async () => {
    const complaints = visitors.flatMap((v) => v.complaints);
    await Promise.all(visitors.map((v) => v.context.close()));
    visitors = [];
    assert.deepEqual(complaints, [], 'the browser complained');
  });

  /**
   * A page in a browser profile of its own. `expected`: complaints that belong to the test, such as
   * the console's line about a page that answers 404.
   */
  async function visitor({ expected = [], studio = house.studio, ...options } = {}) {
    const context = await house.browser.newContext({
      baseURL: studio?.url,
      viewport: { width: 1280, height: 800 },
      locale: 'en-US',
      ...options,
    });
    context.setDefaultTimeout(20_000);
    const complaints = [];
    const complain = (text) => {
      if (!expected.some((pattern) => pattern.test(text))) complaints.push(text);
    };
    context.on('page', watch);
    const page = await context.newPage();
    visitors.push({ context, complaints });
    return page;

    function watch(page) {
      const calls = new Set();
      unanswered.set(page, calls);
      page.on('request', (request) => request.url().includes('/_fn/') && calls.add(request));
      page.on('requestfinished', (request) => calls.delete(request));
      page.on('requestfailed', (request) => calls.delete(request));
      page.on('console', (message) => {
        if (['error', 'warning'].includes(message.type())) complain(`console ${message.type()}: ${message.text()}`);
      });
      page.on('pageerror', (error) => complain(`page error: ${error}`));
      page.on('requestfailed', (request) => {
        const reason = request.failure()?.errorText;
        // By the browser itself: who goes elsewhere, closes an event stream or saves a file needs no answer any more.
        if (reason === 'net::ERR_ABORTED') return;
        complain(`request failed: ${request.url()} ${reason}`);
      });
    }
  }

  return house;
}

/** What carries this data-testid. */
export const the = (page, id) => page.locator(`[data-testid="${id}"]`);

/** Waits until the browser half of the page has taken over. */
export async function hydrated(page) {
  await page.waitForFunction(() => 'started' in document.documentElement.dataset);
  await page.evaluate(() => new Promise((next) => requestAnimationFrame(() => requestAnimationFrame(next))));
  await quiet(page);
}

/** Opens a page and waits until its browser half has taken over. */
export async function open(page, path) {
  const response = await page.goto(path);
  await hydrated(page);
  return response;
}

/** Loads the page again. */
export async function reload(page) {
  await page.reload();
  await hydrated(page);
}

const unanswered = new WeakMap();

/** Waits until the server has answered every call of the page, such as the one that files a judgement. */
export async function quiet(page) {
  do await page.waitForTimeout(50);
  while (unanswered.get(page).size > 0);
}

/** Sets sampling parameters in the panel of the page. */
export async function parameters(page, values) {
  for (const [name, value] of Object.entries(values)) await the(page, `param-${name.replaceAll('_', '-')}`).fill(String(value));
}

/** The lines that tell how the runs of the page go on, without that of the example shown on an empty page. */
const RUN_LINES = '[data-testid="run-line"]:not([data-testid="warmup"] *)';

/** Waits until every run on the page has ended, and returns how: `[{ status, finish }]`. */
export async function ended(page, { timeout = 90_000 } = {}) {
  await quiet(page);
  await page.waitForFunction(
    (selector) => {
      const lines = [...document.querySelectorAll(selector)];
      return lines.length > 0 && lines.every((l) => !['queued', 'running'].includes(l.dataset.status));
    },
    RUN_LINES,
    { timeout },
  );
  return page.locator(RUN_LINES).evaluateAll((lines) =>
    lines.map((l) => ({ status: l.dataset.status, finish: l.dataset.finish })),
  );
}

/** The texts that the pages offer to try. */
export function examples() {
  const folder = join(root, 'assets/examples');
  return readdirSync(folder)
    .filter((name) => name.endsWith('.json'))
    .sort()
    .flatMap((name) => JSON.parse(readFileSync(join(folder, name), 'utf8')));
}
