import { Button, EmptyState, EmptyStateActions, EmptyStateBody, EmptyStateFooter, PageSection } from '@patternfly/react-core';
import QuestionCircleIcon from '@patternfly/react-icons/dist/esm/icons/question-circle-icon';
import { Link } from 'react-router';

export function NotFound({ what = 'There is no such page.' }: { what?: string }) {
  return (
    <PageSection isFilled>
      <EmptyState headingLevel="h1" titleText="Not found" icon={QuestionCircleIcon}>
        <EmptyStateBody>{what}</EmptyStateBody>
        <EmptyStateFooter>
          <EmptyStateActions>
            <Button variant="link" component={(props) => <Link {...props} to="/jobs" />}>
              Show all jobs
            </Button>
          </EmptyStateActions>
        </EmptyStateFooter>
      </EmptyState>
    </PageSection>
  );
}
