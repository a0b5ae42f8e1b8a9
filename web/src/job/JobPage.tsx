import {
  Alert,
  Breadcrumb,
  BreadcrumbItem,
  Card,
  CardBody,
  CardTitle,
  DescriptionList,
  DescriptionListDescription,
  DescriptionListGroup,
  DescriptionListTerm,
  Flex,
  FlexItem,
  Grid,
  GridItem,
  PageSection,
  Progress,
  Spinner,
  Stack,
  StackItem,
  Tab,
  Tabs,
  TabTitleText,
  Title,
} from '@patternfly/react-core';
import { type ReactNode, useEffect } from 'react';
import { Link, useParams, useSearchParams } from 'react-router';
import { AbortButton } from '../abort/AbortButton';
import { ApiError } from '../api/client';
import { useJob } from '../api/jobs';
import type { Job } from '../api/types';
import { NotFound } from '../layout/NotFound';
import { CopyId } from '../ui/CopyId';
import { QueryError } from '../ui/ErrorAlert';
import { isFinal, nameOf } from '../ui/format';
import { StatusLabel } from '../ui/StatusLabel';
import { Duration, Time } from '../ui/Time';
import { AbortTimeline } from './AbortTimeline';
import { LogView } from './LogView';
import { Steps } from './Steps';

/** One job: how it is, its steps, what became of an abort, its log, what went in and came out. */
export function JobPage() {
  const { id = '' } = useParams();
  const { data: job, error, isPending } = useJob(id);
  const name = job && nameOf(job);
  useEffect(() => {
    document.title = `${name ?? 'Job'} · Quell`;
  }, [name]);

  if (error instanceof ApiError && error.status === 404) {
    return <NotFound what={error.message} />;
  }
  return (
    <>
      {error && (
        <PageSection isFilled={false}>
          <QueryError what="The job" error={error} hasData={job !== undefined} />
        </PageSection>
      )}
      {isPending && !error && (
        <PageSection isFilled>
          <Spinner aria-label="The job is being read" />
        </PageSection>
      )}
      {job && <JobView key={id} job={job} />}
    </>
  );
}

const tabs = ['steps', 'log', 'data'] as const;
type TabName = (typeof tabs)[number];

function JobView({ job }: { job: Job }) {
  const [query, setQuery] = useSearchParams();
  const tab: TabName = tabs.find((name) => name === query.get('tab')) ?? 'steps';
  const show = (name: TabName) => setQuery(name === 'steps' ? {} : { tab: name }, { replace: true });
  return (
    <>
      <PageSection isFilled={false}>
        <Stack hasGutter>
          <StackItem>
            <Breadcrumb>
              <BreadcrumbItem render={(props) => <Link {...props} to="/jobs" className={props.className} children="Jobs" />} />
              <BreadcrumbItem isActive>{nameOf(job)}</BreadcrumbItem>
            </Breadcrumb>
          </StackItem>
          <StackItem>
            <Flex justifyContent={{ default: 'justifyContentSpaceBetween' }} alignItems={{ default: 'alignItemsCenter' }}>
              <Flex alignItems={{ default: 'alignItemsCenter' }}>
                <FlexItem>
                  <Title headingLevel="h1" className="quell-breakable">
                    {nameOf(job)}
                  </Title>
                </FlexItem>
                <FlexItem>
                  <StatusLabel status={job.status} />
                </FlexItem>
              </Flex>
              <FlexItem>
                <AbortButton job={job} />
              </FlexItem>
            </Flex>
          </StackItem>
          <StackItem>
            <span className="quell-quiet">Execution id</span> <CopyId id={job.job_execution_id} whole />
          </StackItem>
          {job.reason && (
            <StackItem>
              <Alert isInline isPlain variant={job.status === 'FAILURE' || job.status === 'LOST' ? 'danger' : 'info'} title={job.reason} />
            </StackItem>
          )}
          {job.unreachable_since && (
            <StackItem>
              <Alert isInline variant="warning" title={`The node ${job.node} is out of reach`}>
                Since <Time at={job.unreachable_since} />. Its playbooks go on, and an abort is acted on when it is back.
              </Alert>
            </StackItem>
          )}
          <StackItem>
            <Facts job={job} />
          </StackItem>
        </Stack>
      </PageSection>
      <PageSection isFilled={false} type="tabs">
        <Tabs activeKey={tab} onSelect={(_, key) => show(key as TabName)} usePageInsets aria-label="Parts of the job">
          <Tab eventKey="steps" title={<TabTitleText>Steps</TabTitleText>} tabContentId="part" />
          <Tab eventKey="log" title={<TabTitleText>Log</TabTitleText>} tabContentId="part" />
          <Tab eventKey="data" title={<TabTitleText>Input and output</TabTitleText>} tabContentId="part" />
        </Tabs>
      </PageSection>
      <PageSection isFilled id="part" aria-label="Part of the job">
        {tab === 'steps' && <StepsPart job={job} />}
        {tab === 'log' && <LogView job={job} />}
        {tab === 'data' && <DataPart job={job} />}
      </PageSection>
    </>
  );
}

function Facts({ job }: { job: Job }) {
  const facts: [string, ReactNode][] = [
    ['Job template', <TemplateName key="template" fqName={job.job_template_fq_name} />],
    ['Requester', job.requester || '–'],
    ['Node', job.node || '–'],
    ['Created', <Time key="created" at={job.created_at} />],
    ['Start', <Time key="start" at={job.started_at} />],
    ['End', <Time key="end" at={job.ended_at} />],
    ['Duration', <Duration key="duration" from={job.started_at} to={job.ended_at} />],
  ];
  return (
    <Stack hasGutter>
      <StackItem>
        <DescriptionList isCompact className="quell-facts">
          {facts.map(([term, description]) => (
            <DescriptionListGroup key={term}>
              <DescriptionListTerm>{term}</DescriptionListTerm>
              <DescriptionListDescription>{description}</DescriptionListDescription>
            </DescriptionListGroup>
          ))}
        </DescriptionList>
      </StackItem>
      <StackItem>
        <Progress
          id="progress"
          title={isFinal(job.status) ? 'Progress' : (job.current_tasks?.join(', ') ?? '') || 'Progress'}
          value={Math.round(job.percentage_completed)}
          size="sm"
        />
      </StackItem>
    </Stack>
  );
}

function TemplateName({ fqName }: { fqName: string[] }) {
  return (
    <span className="quell-breakable" title={fqName.join(':')}>
      {fqName.at(-1)}
      <span className="quell-line quell-quiet">{fqName.slice(0, -1).join(':')}</span>
    </span>
  );
}

function StepsPart({ job }: { job: Job }) {
  return (
    <Grid hasGutter>
      <GridItem span={12} xl={job.abort ? 8 : 12}>
        <Stack hasGutter>
          <StackItem>
            <Card>
              <CardTitle component="h2">Playbooks</CardTitle>
              <CardBody>
                {job.playbooks.length > 0 ? <Steps label="Playbooks" playbooks={job.playbooks} /> : 'They are listed once the job has a node.'}
              </CardBody>
            </Card>
          </StackItem>
          {job.recovery.length > 0 && (
            <StackItem>
              <Card>
                <CardTitle component="h2">Recovery playbooks</CardTitle>
                <CardBody>
                  <Steps label="Recovery playbooks" playbooks={job.recovery} />
                </CardBody>
              </Card>
            </StackItem>
          )}
        </Stack>
      </GridItem>
      {job.abort && (
        <GridItem span={12} xl={4}>
          <Card>
            <CardTitle component="h2">Abort</CardTitle>
            <CardBody>
              <AbortTimeline job={job} />
            </CardBody>
          </Card>
        </GridItem>
      )}
    </Grid>
  );
}

function DataPart({ job }: { job: Job }) {
  return (
    <Stack hasGutter>
      <StackItem>
        <JSONCard title="Input" value={job.input} none="The job was started without input." />
      </StackItem>
      <StackItem>
        <JSONCard title="Output" value={job.output} none={isFinal(job.status) ? 'The job gave nothing back.' : 'The job has given nothing back so far.'} />
      </StackItem>
    </Stack>
  );
}

function JSONCard({ title, value, none }: { title: string; value: unknown; none: string }) {
  return (
    <Card>
      <CardTitle component="h2">{title}</CardTitle>
      <CardBody>
        {value === undefined || value === null ? (
          none
        ) : (
          <pre className="quell-json" tabIndex={0} aria-label={title}>
            {JSON.stringify(value, null, 2)}
          </pre>
        )}
      </CardBody>
    </Card>
  );
}
