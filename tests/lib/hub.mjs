// Model files made here, and a hub that sends them.
import { createHash } from 'node:crypto';
import { createServer } from 'node:http';

export const sum = (algorithm, bytes) => createHash(algorithm).update(bytes).digest('hex');

/** A file of tensors in F32: `{ name: [shape, numbers] }`. */
export function safetensors(tensors) {
  let offset = 0;
  const header = {};
  const data = [];
  for (const [name, [shape, numbers]] of Object.entries(tensors)) {
    const bytes = Buffer.from(new Float32Array(numbers).buffer);
    header[name] = { dtype: 'F32', shape, data_offsets: [offset, (offset += bytes.length)] };
    data.push(bytes);
  }
  const json = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  return Buffer.concat([length, json, ...data]);
}

/**
 * A hub with one repository, some/model. `pace`: milliseconds before each 64 kB, which can be changed on what comes back;
 * `asked` has what was asked for.
 */
export async function hub(files, { pace = 0 } = {}) {
  const one = { pace, asked: [] };
  const server = createServer(async (request, response) => {
    const path = decodeURI(request.url.split('?')[0]);
    if (path.startsWith('/api/models/some/model/revision/')) {
      const siblings = Object.entries(files).map(([rfilename, bytes]) => ({
        rfilename,
        size: bytes.length,
        lfs: { sha256: sum('sha256', bytes), size: bytes.length },
      }));
      return response.end(JSON.stringify({ sha: 'a'.repeat(40), siblings }));
    }
    const bytes = files[path.split('/').slice(5).join('/')];
    if (!bytes) return response.writeHead(404).end();
    const [from, to] = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range).slice(1).map(Number);
    one.asked.push({ from, to, token: request.headers.authorization });
    response.writeHead(206, { 'content-range': `bytes ${from}-${to}/${bytes.length}`, 'content-length': to - from + 1 });
    for (let at = from; at <= to && !response.destroyed; at += 65536) {
      if (one.pace) await new Promise((resolve) => setTimeout(resolve, one.pace));
      response.write(bytes.subarray(at, Math.min(at + 65536, to + 1)));
    }
    response.end();
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const close = () => (server.closeAllConnections(), server.close());
  return Object.assign(one, { url: `http://127.0.0.1:${server.address().port}`, close });
}

/** How many bytes a hub was asked for. */
export const fetched = (hub) => hub.asked.reduce((total, { from, to }) => total + to - from + 1, 0);
