// Takes pictures of the pages and their states, in light and dark: node e2e/screenshots.mjs DIR.
import { mkdir } from 'node:fs/promises';
import { abortJobs, job, openBrowser, openLine, openPage, rowOf, startJob, waitFor, call } from './browser.mjs';

const dir = process.argv[2] ?? 'screenshots';
await mkdir(dir, { recursive: true });

const status = (id, ...wanted) => waitFor(`${id} is ${wanted}`, async () => wanted.includes((await job(id)).status));

await startJob('hello_template', { name: 'Quell' });
const failed = await startJob('failing_template', { seconds: 0, why: 'the device does not answer on its management address' });
const recovered = await startJob('with_recovery_template', { seconds: 600 });
await startJob('daemons_template', { seconds: 600 });
const aborting = await startJob('three_steps_template', { seconds: 300 });
const steps = await startJob('three_steps_template', { seconds: 60 });
await waitFor('they run', async () => (await job(recovered)).playbooks.some((p) => p.status === 'RUNNING'));
const abort = (id, mode, reason) =>
  call('POST', `/abort-job?reason=${encodeURIComponent(reason)}`, { input: { job_execution_ids: [id], abort_mode: mode } });
await abort(recovered, 'force', 'The image was the wrong one');
await abort(aborting, 'graceful', 'The maintenance window ends');
await status(recovered, 'ABORTED');
await status(failed, 'FAILURE');
await status(aborting, 'ABORTING');

for (const colorScheme of ['light', 'dark']) {
  const browser = await openBrowser({ colorScheme });
  const shoot = async (page, name) => {
    await page.mouse.move(0, 0);
    await page.waitForTimeout(600);
    await page.screenshot({ path: `${dir}/${name}-${colorScheme}.png` });
  };
  const { page } = await openPage(browser.context, '/ui/jobs');
  await rowOf(page, steps).getByText('IN_PROGRESS').waitFor();
  await shoot(page, 'jobs');
  await rowOf(page, steps).getByRole('button', { name: 'Abort' }).click();
  await shoot(page, 'dialog-graceful');
  await page.getByRole('radio', { name: 'Force' }).check();
  await shoot(page, 'dialog-force');
  for (const [name, id, query] of [
    ['job-running', steps, ''],
    ['job-log', steps, '?tab=log'],
    ['job-data', failed, '?tab=data'],
    ['job-aborted', recovered, ''],
    ['job-aborting', aborting, ''],
    ['job-failed', failed, ''],
    ['job-none', '01980000-0000-7000-8000-000000000000', ''],
  ]) {
    const { page } = await openPage(browser.context, `/ui/jobs/${id}${query}`);
    await page.getByRole('heading', { level: 1 }).waitFor();
    await shoot(page, name);
    await page.close();
  }
  await page.setViewportSize({ width: 400, height: 800 });
  await page.goto(page.url());
  await rowOf(page, steps).getByText('IN_PROGRESS').waitFor();
  await shoot(page, 'jobs-narrow');
  const line = await openLine();
  const { page: cut } = await openPage(browser.context, '/ui/jobs', line.url);
  await cut.getByText('Live', { exact: true }).waitFor();
  line.cut();
  await cut.getByText('The connection to the API is lost').waitFor();
  await shoot(cut, 'jobs-lost');
  line.close();
  await browser.close();
}
await abortJobs();
