// Aborts running jobs as a person does, in a browser, on the built page of a running quell.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { abortJobs, api, job, log, openBrowser, openLine, openPage, rowOf, startJob, waitFor } from './browser.mjs';

let browser;
before(async () => {
  browser = await openBrowser();
});
after(async () => {
  await browser?.close();
  await abortJobs();
});

const running = (id) => waitFor(`${id} runs`, async () => (await job(id)).playbooks.some(({ status }) => status === 'RUNNING'));

test('a browser that asks for / gets the jobs, and loads little', async () => {
  const { page, complaints } = await openPage(browser.context, '/');
  await page.getByRole('heading', { name: 'Jobs', level: 1 }).waitFor();
  assert.equal(page.url(), `${api}/ui/jobs`);
  await page.evaluate(() => document.fonts.ready);
  const bytes = await page.evaluate(() =>
    [...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')]
      .filter(({ name }) => new URL(name).pathname.startsWith('/ui/'))
      .reduce((sum, { transferSize }) => sum + transferSize, 0),
  );
  console.log(`the first load takes ${Math.round(bytes / 1000)} kB`);
  assert.ok(bytes > 100_000 && bytes < 400_000, `${bytes} bytes`);
  assert.deepEqual(complaints, []);
});

test('a running job is aborted by force from the list', async () => {
  const { page, complaints } = await openPage(browser.context, '/ui/jobs');
  const id = await startJob('three_steps_template', { seconds: 600 });
  const row = rowOf(page, id);
  await row.getByText('IN_PROGRESS').waitFor(); // the job shows up, and goes on, without reloading
  await waitFor('the job writes its log', async () => (await log(id)).includes('Prepare the devices'));

  await row.getByRole('button', { name: 'Abort' }).click();
  const dialog = page.getByRole('dialog', { name: 'Abort this job?' });
  assert.ok(await dialog.getByRole('radio', { name: 'Graceful' }).isChecked(), 'graceful is offered first');
  await dialog.getByRole('radio', { name: 'Force' }).check();
  await dialog.getByLabel('Reason').fill('wrong image');
  await page.waitForTimeout(500);
  await dialog.getByRole('button', { name: 'Abort by force' }).click();

  await dialog.waitFor({ state: 'hidden' });
  await row.getByText('ABORTED', { exact: true }).waitFor();
  const { status, abort } = await job(id);
  assert.equal(status, 'ABORTED');
  assert.deepEqual([abort.mode, abort.source, abort.reason, abort.outcome], ['force', 'web', 'wrong image', 'aborted']);

  await row.getByRole('link').click();
  await page.getByRole('heading', { name: 'Three Steps', level: 1 }).waitFor();
  const record = page.getByRole('list', { name: 'Abort record' });
  await record.getByText('Reason: wrong image').waitFor();
  await record.getByText('Final: ABORTED').waitFor();
  await page.getByRole('gridcell', { name: 'INTERRUPTED' }).waitFor();
  await page.getByRole('tab', { name: 'Log' }).click();
  await page.getByRole('log').getByText('Prepare the devices').first().waitFor();
  assert.deepEqual(complaints, []);
});

test('hasty clicks ask for a graceful abort, and never for more', async () => {
  const id = await startJob('three_steps_template', { seconds: 20 });
  await running(id);
  const { page, complaints } = await openPage(browser.context, `/ui/jobs/${id}`);
  await page.getByRole('button', { name: 'Abort' }).dblclick();
  const dialog = page.getByRole('dialog', { name: 'Abort this job?' });
  await dialog.waitFor();
  assert.equal((await job(id)).abort, null, 'the button alone aborts nothing');
  await page.waitForTimeout(500);
  await dialog.getByRole('button', { name: 'Abort gracefully' }).dblclick();
  await dialog.waitFor({ state: 'hidden' });

  const record = page.getByRole('list', { name: 'Abort record' });
  await record.getByText('Waiting for the playbook that runs').waitFor();
  assert.equal((await job(id)).abort.mode, 'graceful');

  // What is left to ask for is force, and that is not preselected.
  await page.getByRole('button', { name: 'Abort' }).click();
  assert.ok(await dialog.getByRole('radio', { name: 'Graceful' }).isDisabled());
  assert.ok(!(await dialog.getByRole('radio', { name: 'Force' }).isChecked()));
  assert.ok(await dialog.getByRole('button', { name: 'Abort', exact: true }).isDisabled());
  await dialog.getByRole('button', { name: 'Cancel' }).click();

  await record.getByText('Final: ABORTED').waitFor({ timeout: 60_000 });
  const { playbooks } = await job(id);
  assert.deepEqual(playbooks.map(({ status }) => status), ['SUCCESS', 'SKIPPED', 'SKIPPED']);
  assert.deepEqual(complaints, []);
});

test('a lost connection is said, and ends by itself', async () => {
  const line = await openLine();
  const { page } = await openPage(browser.context, '/ui/jobs', line.url);
  await page.getByText('Live', { exact: true }).waitFor();
  line.cut();
  await page.getByText('The connection to the API is lost').waitFor();
  await page.getByText('Disconnected').waitFor();

  const id = await startJob('hello_template');
  line.mend();
  await page.getByText('Live', { exact: true }).waitFor();
  await page.getByText('The connection to the API is lost').waitFor({ state: 'hidden' });
  await rowOf(page, id).waitFor(); // what happened meanwhile is there
  line.close();
});

test('an error of the API is shown with its text', async () => {
  const { page } = await openPage(browser.context, '/ui/jobs/01980000-0000-7000-8000-000000000000');
  await page.getByRole('heading', { name: 'Not found' }).waitFor();
  await page.getByText('01980000-0000-7000-8000-000000000000').waitFor();
});
