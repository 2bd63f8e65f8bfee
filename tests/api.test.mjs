// The HTTP API of the original system, and who is let in.
import assert from 'node:assert/strict';
import { request } from 'node:http';
import { test } from 'node:test';

import { examples, openHouse } from './lib/house.mjs';
import { startStudio } from './lib/studio.mjs';

const house = openHouse();

/** One request with exactly these headers; fetch would not send a Host of our choice. */
function ask(method, path, { headers = {}, body } = {}) {
  return new Promise((resolve, reject) => {
    const { port } = house.studio;
    const sent = request({ host: '127.0.0.1', port, method, path, headers }, (answer) => {
      let text = '';
      answer.on('data', (data) => (text += data));
      answer.on('end', () => resolve({ status: answer.statusCode, headers: answer.headers, text }));
    });
    sent.on('error', reject);
    sent.end(body);
  });
}

const generate = async (body) => {
  const answer = await ask('POST', '/generate', {
    headers: { 'content-type': 'application/json' },
    body: typeof body === 'string' ? body : JSON.stringify(body),
  });
  return { status: answer.status, ...JSON.parse(answer.text) };
};

test('GET /is_ready answers true', async () => {
  const answer = await ask('GET', '/is_ready');
  assert.deepEqual([answer.status, answer.text], [200, 'true']);
});

test('POST /generate answers instruction and input as the original API does', async () => {
  const instruction =
    'Please extract all entity types from the input text, then provide a list of entities in the format (entity, entity type).';
  const answer = await generate({
    instruction,
    input: examples()[0].text,
    parameters: { temperature: 0, max_tokens: 64, top_k: -1, top_p: 1 },
  });
  assert.equal(answer.status, 200);
  assert.deepEqual(Object.keys(answer).slice(1), ['generated_text', 'num_output_tokens_cf', 'error']);
  assert.equal(answer.error, null);
  assert.ok(answer.generated_text.length > 0);
  assert.ok(answer.num_output_tokens_cf > 0 && answer.num_output_tokens_cf <= 64);
});

test('without parameters an answer has the original 16 tokens at most; input may be left out', async () => {
  const answer = await generate({ instruction: 'Write a long story about a lighthouse.' });
  assert.equal(answer.error, null);
  assert.ok(answer.num_output_tokens_cf <= 16);
});

test('greedy answers are the same each time, also when asked at the same time', async () => {
  const body = { instruction: 'Name three colours.', parameters: { temperature: 0, max_tokens: 24 } };
  const alone = await generate(body);
  const together = await Promise.all([generate(body), generate(body), generate(body)]);
  for (const answer of together) assert.equal(answer.generated_text, alone.generated_text);
});

test('what is wrong is said in the field "error"', async () => {
  for (const [body, sentence] of [
    [{ instruction: '' }, /instruction is empty/],
    [{ instruction: 'Do', parameters: { temperature: 7 } }, /temperature: must be a number from 0 to 2; it is 7/],
    [{ instruction: 'Do', parameters: { max_tokens: 0 } }, /max_new_tokens: must be a whole number from 1/],
    [{ instruction: 'word '.repeat(9000) }, /tokens/],
    ['{"instruction": ', /must be JSON/],
    [{ prompt: 'no instruction' }, /instruction/],
  ]) {
    const answer = await generate(body);
    assert.equal(answer.status, 400, JSON.stringify(answer));
    assert.equal(answer.generated_text, '');
    assert.match(answer.error, sentence);
  }
  assert.equal((await ask('GET', '/is_ready')).text, 'true', 'the server is alive');
});

test('only this computer is let in, by its own name, and nothing stands in between', async () => {
  const { port } = house.studio;
  for (const host of ['evil.example', `evil.example:${port}`, `127.0.0.1.evil.example:${port}`]) {
    assert.equal((await ask('GET', '/sessions', { headers: { host } })).status, 403, host);
  }
  for (const host of [`localhost:${port}`, `127.0.0.1:${port}`, `[::1]:${port}`]) {
    assert.equal((await ask('GET', '/is_ready', { headers: { host } })).status, 200, host);
  }
  for (const header of ['x-forwarded-for', 'x-forwarded-host', 'forwarded']) {
    assert.equal((await ask('GET', '/sessions', { headers: { [header]: 'for=1.2.3.4' } })).status, 403, header);
  }
});

test("another site's page cannot act here", async () => {
  const form = { 'content-type': 'application/x-www-form-urlencoded' };
  const body = 'page=complete&prompt=Hello&param-max-new-tokens=1';
  const send = (headers) => ask('POST', '/run', { headers: { ...form, ...headers }, body }).then((a) => a.status);
  assert.equal(await send({ origin: 'http://evil.example' }), 403);
  assert.equal(await send({ origin: 'null' }), 403);
  assert.equal(await send({ 'sec-fetch-site': 'cross-site' }), 403);
  assert.equal(await send({ origin: `http://127.0.0.1:${house.studio.port}` }), 303);
  const call = await ask('POST', '/_fn/stop', {
    headers: { 'content-type': 'application/json', origin: 'http://evil.example' },
    body: '{"runs":[]}',
  });
  assert.equal(call.status, 403);
});

test('pages allow scripts by nonce only, are not framed, and set strict cookies', async () => {
  const { headers, text } = await ask('GET', '/lora');
  const policy = headers['content-security-policy'];
  const nonce = policy.match(/script-src[^;]*'nonce-([^']+)'/)?.[1];
  assert.ok(nonce, policy);
  assert.doesNotMatch(policy.match(/script-src[^;]*/)[0], /'unsafe-(inline|eval)'/);
  assert.match(policy, /frame-ancestors 'none'/);
  for (const script of text.matchAll(/<script\b[^>]*>(?!<\/script>)/g)) assert.ok(script[0].includes(`nonce="${nonce}"`), script[0]);
  assert.notEqual((await ask('GET', '/lora')).headers['content-security-policy'], policy, 'a new nonce each time');
  assert.equal(headers['x-content-type-options'], 'nosniff');

  const switched = await ask('POST', '/prefs', {
    headers: { 'content-type': 'application/x-www-form-urlencoded' },
    body: 'theme=dark',
  });
  for (const cookie of switched.headers['set-cookie']) assert.match(cookie, /SameSite=(Lax|Strict)/);
});

test('with logins the pages are closed until the owner has set a password through the one-time link', async () => {
  const studio = await startStudio({ args: ['--auth', 'login'] });
  try {
    const link = studio.output().match(/http:\/\/\S+\/setup\S+/)?.[0];
    assert.ok(link, `the first start prints a set-up link:\n${studio.output()}`);

    const owner = await house.visitor({ studio });
    await owner.goto('/sessions');
    assert.match(owner.url(), /\/login/, 'strangers are sent to the login');
    await owner.goto(link);
    await owner.fill('[name=name]', 'Ada');
    await owner.fill('[name=password]', 'correct horse battery');
    await owner.click('button.primary');
    await owner.waitForURL(`${studio.url}/`);
    const [cookie] = (await owner.context().cookies()).filter((c) => c.httpOnly);
    assert.match(cookie?.sameSite, /Lax|Strict/, 'the login is in a cookie that no script can read');
    await owner.close();

    const stranger = await house.visitor({ studio, expected: [/status of 40[13]/] });
    assert.equal((await stranger.goto(link)).status(), 403, 'the link works once');
    const logIn = async (password) => {
      await stranger.goto('/login?next=/sessions');
      await stranger.fill('[name=name]', 'Ada');
      await stranger.fill('[name=password]', password);
      await stranger.click('button.primary');
      await stranger.waitForLoadState();
      return new URL(stranger.url()).pathname;
    };
    assert.equal(await logIn('wrong horse battery'), '/login');
    assert.equal(await logIn('correct horse battery'), '/sessions');
    await stranger.close();
  } finally {
    await studio.stop();
  }
});
