// What the tests in a browser share: the browser, and the API behind the page.
import { spawn } from 'node:child_process';
import { rmSync } from 'node:fs';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { createServer, connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';

/** The API of a running quell with the examples' templates; one is started where none is named. */
export const api = process.env.QUELL_API ?? (await startQuell());

/** Starts bin/quell with the examples, on free ports and with state of its own; it ends with this process. */
async function startQuell() {
  const root = fileURLToPath(new URL('../..', import.meta.url));
  const state = await mkdtemp(join(tmpdir(), 'quell-page-'));
  const examples = join(root, 'examples');
  const templates = (await readdir(join(examples, 'templates'))).map((name) => join(examples, 'templates', name));
  const ready = join(state, 'ready');
  const quell = spawn(
    join(root, 'bin/quell'),
    ['dev', '--listen', '127.0.0.1:0', '--etcd-listen', '127.0.0.1:0', '--data-dir', join(state, 'data'), '--print-ready', ready]
      .concat('--playbook-dir', join(examples, 'playbooks'), '--templates', templates),
    { stdio: 'ignore' },
  );
  quell.unref();
  process.on('exit', () => {
    quell.kill('SIGKILL');
    rmSync(state, { recursive: true, force: true });
  });
  return waitFor('quell is up', async () => JSON.parse(await readFile(ready, 'utf8').catch(() => 'null'))?.api);
}

/** Opens the system's Chromium; it reaches this host alone, and says nothing to its maker. */
export async function openBrowser(options = {}) {
  const profile = await mkdtemp(join(tmpdir(), 'quell-chromium-'));
  const context = await chromium.launchPersistentContext(profile, {
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    headless: true,
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
    ],
    viewport: { width: 1440, height: 900 },
    locale: 'en-GB',
    ...options,
  });
  context.setDefaultTimeout(30_000);
  return {
    context,
    close: async () => {
      await context.close();
      await rm(profile, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}

/** A line to the API that can be cut. */
export async function openLine() {
  const sockets = new Set();
  let isCut = false;
  const server = createServer((near) => {
    if (isCut) {
      near.destroy();
      return;
    }
    const { hostname, port } = new URL(api);
    const far = connect(Number(port), hostname);
    for (const [socket, other] of [[near, far], [far, near]]) {
      sockets.add(socket);
      socket.on('error', () => {}).on('close', () => {
        sockets.delete(socket);
        other.destroy();
      });
      socket.pipe(other);
    }
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const cut = () => {
    isCut = true;
    sockets.forEach((socket) => socket.destroy());
  };
  return {
    url: `http://127.0.0.1:${server.address().port}`,
    cut,
    mend: () => {
      isCut = false;
    },
    close: () => {
      cut();
      server.close();
    },
  };
}

/** Opens a page that keeps what the browser complained of: faults of the scripts, and what the policy forbade. */
export async function openPage(context, path, base = api) {
  const page = await context.newPage();
  const complaints = [];
  page.on('pageerror', (error) => complaints.push(String(error)));
  page.on('console', (message) => {
    if (['error', 'warning'].includes(message.type())) {
      complaints.push(message.text());
    }
  });
  await page.goto(base + path);
  return { page, complaints };
}

export async function call(method, path, body) {
  const response = await fetch(api + path, { method, body: body && JSON.stringify(body) });
  const text = await response.text();
  if (!response.ok) {
    throw new Error(`${method} ${path}: ${response.status} ${text}`);
  }
  return JSON.parse(text);
}

const started = [];

/** Ends what startJob started: jobs outlive the quell that runs them. */
export async function abortJobs() {
  if (started.length > 0) {
    await call('POST', '/abort-job?recovery=false&wait=30s', { input: { job_execution_ids: started, abort_mode: 'force' } });
  }
}

/** Starts a job of one of the examples' templates and returns its id. */
export async function startJob(template, input = {}) {
  const { job_execution_id } = await call('POST', '/execute-job', {
    job_template_fq_name: ['default-global-system-config', template],
    input,
  });
  started.push(job_execution_id);
  return job_execution_id;
}

export async function log(id) {
  return (await fetch(`${api}/v1/jobs/${id}/log`)).text();
}

export const job = (id) => call('GET', `/v1/jobs/${id}`);

export async function waitFor(what, check) {
  const deadline = Date.now() + 60_000;
  for (;;) {
    const result = await check();
    if (result) {
      return result;
    }
    if (Date.now() > deadline) {
      throw new Error(`in vain waited for: ${what}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

/** The row of a job in the list. */
export const rowOf = (page, id) => page.getByRole('row').filter({ has: page.locator(`a[href$="/jobs/${id}"]`) });
