/** Tasks that somebody began on the page, with what they said last. */

import type { TaskRow } from '../../../house.ts'
import { sentence } from '../../format.ts'
import { ActButton } from '../../parts/act-button.tsx'
import { Badge, Progress, Section } from '../../parts/basics.tsx'
import { confirm } from '../../parts/dialog.tsx'
import { Ago } from '../../parts/time.tsx'
import { act } from '../../state/toasts.ts'

const WORDS = { verify: 'Verify', boot: 'Boot test', prune: 'Prune', restore: 'Restore', report: 'Report' }
const TONES = { waiting: 'plain', running: 'accent', done: 'good', failed: 'bad', canceled: 'plain' } as const
const ICONS = { waiting: 'waiting', running: 'running', done: 'good', failed: 'failed', canceled: 'close' } as const

export function Tasks({ tasks }: { tasks: TaskRow[] }) {
  return (
    <Section title="Tasks">
      <ul class="list">
        {tasks.map((task) => (
          <Task key={task.id} task={task} />
        ))}
      </ul>
    </Section>
  )
}

function Task({ task }: { task: TaskRow }) {
  const { what, subject, host, by, state, began, ended, percent, lines } = task
  const goesOn = state === 'running' || state === 'waiting'
  return (
    <li class="task">
      <div class="task-head">
        <Badge tone={TONES[state]} icon={ICONS[state]}>
          {state}
        </Badge>
        <strong class="clip">
          {WORDS[what] ?? sentence(what)} <span class="mono">{subject}</span>
        </strong>
        <span class="quiet">
          {host} · {by} · <Ago at={ended ?? began} />
        </span>
        {goesOn && (
          <ActButton
            what="cancel"
            icon="close"
            text="Cancel"
            label={`Cancel: ${WORDS[what]} ${subject}`}
            small
            run={() => askCancel(task)}
          />
        )}
      </div>
      {state === 'running' && (
        <div class="running-progress">
          <Progress value={percent} label={`${WORDS[what]} ${subject}`} />
          <span class="percent">{percent === null ? '' : `${Math.floor(percent)} %`}</span>
        </div>
      )}
      {lines.length === 1 && <p class="log mono quiet">{lines[0]}</p>}
      {lines.length > 1 && (
        <details class="log" open={goesOn || state === 'failed'}>
          <summary>{lines.at(-1)}</summary>
          {/* biome-ignore lint/a11y/noNoninteractiveTabindex: it is scrolled with the keyboard too */}
          <section class="log-lines" tabIndex={0} aria-label={`What ${WORDS[what]} ${subject} said`}>
            {lines.join('\n')}
          </section>
        </details>
      )}
    </li>
  )
}

function askCancel({ id, what, subject }: TaskRow): void {
  confirm({
    title: `Cancel this task?`,
    button: 'Cancel the task',
    danger: true,
    run: () => act({ do: 'cancel', id }, 'The task is being canceled'),
    children: (
      <>
        <p>
          {WORDS[what]} <span class="mono">{subject}</span> ends where it is.
        </p>
        {what === 'restore' && <p>What it has written so far is not a whole drive.</p>}
        {what === 'prune' && <p>Archives that are removed already stay removed.</p>}
      </>
    ),
  })
}
