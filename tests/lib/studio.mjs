// The real program: started, waited for, stopped; and its other commands.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
export const binary = process.env.KNOWLM_BINARY ?? join(root, 'target/release/knowlm');

/** A port that nobody listens on. */
export function freePort() {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.on('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

/** An empty data folder, which sees the model of KNOWLM_DATA_DIR where that is set. */
export function emptyDataDir() {
  const folder = mkdtempSync(join(tmpdir(), 'knowlm-test-'));
  const own = process.env.KNOWLM_DATA_DIR && join(process.env.KNOWLM_DATA_DIR, 'models');
  if (own && existsSync(own)) symlinkSync(own, join(folder, 'models'));
  return folder;
}

export const remove = (folder) => rmSync(folder, { recursive: true, force: true });

const environment = (extra = {}) => {
  const env = { ...process.env, RUST_BACKTRACE: '0', NO_COLOR: '1', ...extra };
  delete env.KNOWLM_DATA_DIR;
  return env;
};

/** Starts `knowlm serve` and resolves as soon as it answers that it is ready. */
export async function startStudio({ dataDir, port, args = [], env } = {}) {
  assert.ok(existsSync(binary), `${binary} is missing: run "make build" first`);
  const ownDataDir = dataDir === undefined;
  dataDir ??= emptyDataDir();
  mkdirSync(dataDir, { recursive: true });
  port ??= await freePort();
  const url = `http://127.0.0.1:${port}`;
  const child = spawn(binary, ['serve', '--listen', `127.0.0.1:${port}`, '--data-dir', dataDir, ...args], {
    env: environment(env),
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  child.stdout.on('data', (data) => (output += data));
  child.stderr.on('data', (data) => (output += data));
  const ended = new Promise((resolve) => child.on('exit', (code, signal) => resolve({ code, signal })));

  let over = null;
  ended.then((end) => (over = end));
  const deadline = Date.now() + 60_000;
  for (;;) {
    if (over) throw new Error(`knowlm serve ended (${JSON.stringify(over)}) before it was ready:\n${output}`);
    if (Date.now() > deadline) {
      child.kill('SIGKILL');
      throw new Error(`knowlm serve was not ready within a minute:\n${output}`);
    }
    const ready = await fetch(`${url}/is_ready`).then((r) => r.text(), () => '');
    if (ready.trim() === 'true') break;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }

  return {
    url,
    port,
    dataDir,
    pid: child.pid,
    output: () => output,
    /** As Ctrl-C or a service manager does it; the program must end by itself, with exit code 0. */
    async stop() {
      if (!over) child.kill('SIGTERM');
      const timer = setTimeout(() => child.kill('SIGKILL'), 60_000);
      const end = await ended;
      clearTimeout(timer);
      if (ownDataDir) remove(dataDir);
      assert.deepEqual(end, { code: 0, signal: null }, `knowlm serve did not stop cleanly:\n${output}`);
    },
    /** As a power cut does it. */
    async kill() {
      child.kill('SIGKILL');
      await ended;
    },
  };
}

/** Runs a command of the program to its end. */
export function knowlm(args, { env, timeout = 120_000 } = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(binary, args, { env: environment(env), stdio: ['ignore', 'pipe', 'pipe'], cwd: root });
    let stdout = '';
    let stderr = '';
    child.stdout.on('data', (data) => (stdout += data));
    child.stderr.on('data', (data) => (stderr += data));
    const timer = setTimeout(() => child.kill('SIGKILL'), timeout);
    child.on('error', reject);
    child.on('exit', (code) => {
      clearTimeout(timer);
      resolve({ code, stdout, stderr });
    });
  });
}

/** The command failed, and said so as one does to a person: in one sentence, which holds all of `words`. */
export function assertClearFailure({ code, stdout, stderr }, ...words) {
  assert.notEqual(code, 0, `it should have failed:\n${stdout}${stderr}`);
  assert.notEqual(code, null, `it did not end:\n${stdout}${stderr}`);
  assert.doesNotMatch(stderr, /panicked|RUST_BACKTRACE|stack backtrace/i);
  // Lines of progress may stand before it.
  const said = stderr.split('\n').filter((line) => /^(knowlm|error): /.test(line));
  assert.equal(said.length, 1, `one clear sentence is wanted:\n${stderr}`);
  assert.ok(said[0].length < 500, `a sentence, not a report:\n${said[0]}`);
  for (const word of words) assert.match(said[0], word);
}
