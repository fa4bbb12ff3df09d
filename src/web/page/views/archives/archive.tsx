/** One archive: what is in it, what was checked, and what can be done with it. */

import type { ArchiveContent, ArchiveRow } from '../../../house.ts'
import { dayTime, exactTime, formatBytes, sentence } from '../../format.ts'
import { ActButton } from '../../parts/act-button.tsx'
import { Alert, Badge, Empty, Figure, Head, Loaded, Section } from '../../parts/basics.tsx'
import { Ago, At } from '../../parts/time.tsx'
import { href } from '../../router.ts'
import { address } from '../../state/api.ts'
import { useResource } from '../../state/resource.ts'
import { archiveActions } from './actions.tsx'
import { Chains } from './chains.tsx'
import { checkWord } from './checks.tsx'
import { chainsOf } from './tree.ts'

export function Archive({ host, id }: { host: string; id: string }) {
  const held = useResource<ArchiveRow[]>('archives', { host }, 'archives')
  return (
    <Loaded from={held}>
      {(rows) => {
        const archive = rows.find((row) => row.id === id)
        return archive ? <Content archive={archive} rows={rows} /> : <Gone />
      }}
    </Loaded>
  )
}

function Gone() {
  return (
    <>
      <Head title="Archive" above={[{ text: 'Archives', link: href('archives') }]} />
      <Empty icon="archives" title="This archive is not there">
        <p>It may have been pruned, or its place is away.</p>
      </Empty>
    </>
  )
}

function Content({ archive, rows }: { archive: ArchiveRow; rows: ArchiveRow[] }) {
  const { host, guest, place, name, kind, uuid, at, size, encrypted, locked, notes, unreadable, checks } = archive
  const chain = chainOf(archive, rows)
  const picture = checks.find((check) => check.picture)
  return (
    <>
      <Head
        title={at === null ? name : `${guest ?? name}, ${dayTime(at)}`}
        above={[
          { text: 'Archives', link: href('archives') },
          ...(guest === null ? [] : [{ text: guest, link: href('guest', [host, guest]) }]),
        ]}
        about={<span class="mono wrap">{name}</span>}
      />
      <div class="actions">
        {archiveActions(archive).map(({ what, icon, text, run }, index) => (
          <ActButton key={what} what={what} icon={icon} text={text} run={run!} host={host} primary={index === 0} />
        ))}
      </div>
      {unreadable && <Alert kind="bad" title={unreadable} />}
      <div class="overview">
        <div class="card">
          <dl class="figures">
            <Figure name="Kind" sub={kind === 'full' ? 'needs no other' : 'needs its parents'}>
              {kind}
            </Figure>
            <Figure name="Size">{formatBytes(size)}</Figure>
            <Figure name="Made" sub={at && exactTime(at)}>
              <Ago at={at} none="unknown" />
            </Figure>
            <Figure name="Place" sub={host}>
              {place}
            </Figure>
            <Figure name="Encrypted" sub={locked && 'no key here'}>
              {encrypted ? 'yes' : 'no'}
            </Figure>
            <Figure name="Protected" sub={archive.protected ? 'no prune removes it' : 'may be pruned'}>
              {archive.protected ? 'yes' : 'no'}
            </Figure>
          </dl>
          <p class="uuid">
            <span class="quiet">uuid</span> <span class="mono">{uuid}</span>
          </p>
          {notes && (
            <div class="notes">
              <h3>Note</h3>
              <p class="pre">{notes}</p>
            </div>
          )}
        </div>
        {picture && (
          <div class="card booted">
            <h3>Screen of the boot test</h3>
            <img
              src={address('picture', { host, archive: archive.id })}
              alt={`Screen at the end of the boot test of ${exactTime(picture.at)}`}
            />
            <p class="quiet">
              <At at={picture.at} />
            </p>
          </div>
        )}
      </div>
      <Section title="Checks">
        {checks.length === 0 ? (
          <p class="quiet">Nobody has verified or booted it yet.</p>
        ) : (
          <ul class="list">
            {checks.map((check) => (
              <li key={`${check.kind} ${check.at}`} class="list-row">
                <Badge tone={check.passed ? 'good' : 'bad'} icon={check.passed ? 'good' : 'failed'}>
                  {checkWord(check)}
                </Badge>
                <At at={check.at} />
                {check.detail && <span class="reason">{sentence(check.detail)}</span>}
              </li>
            ))}
          </ul>
        )}
      </Section>
      {unreadable === null && <Inside archive={archive} />}
      {chain.length > 1 && (
        <Section title="Its chain">
          <Chains rows={chain} />
        </Section>
      )}
    </>
  )
}

function Inside({ archive: { host, id } }: { archive: ArchiveRow }) {
  const held = useResource<ArchiveContent>('content', { host, archive: id }, null)
  return (
    <Section title="Content">
      <Loaded from={held}>
        {({ drives, configs, problem }) => (
          <>
            {problem ? (
              <Alert kind="info" title={problem} />
            ) : (
              <ul class="list">
                {drives.map((drive) => (
                  <li key={drive.name} class="list-row">
                    <Badge tone="plain" icon="hosts">
                      drive
                    </Badge>
                    <span class="mono">{drive.name}</span>
                    <span class="quiet">{formatBytes(drive.size)}</span>
                  </li>
                ))}
                {configs.map((config) => (
                  <li key={config} class="list-row">
                    <Badge tone="plain" icon="file">
                      configuration
                    </Badge>
                    <span class="mono">{config}</span>
                  </li>
                ))}
              </ul>
            )}
          </>
        )}
      </Loaded>
    </Section>
  )
}

/** All archives of the chain that this one is in. */
function chainOf(archive: ArchiveRow, rows: ArchiveRow[]): ArchiveRow[] {
  const tree = chainsOf(rows.filter(({ guest, place }) => guest === archive.guest && place === archive.place))
  const at = tree.findIndex((row) => row.archive === archive)
  const first = tree.findLastIndex((row, index) => index <= at && row.depth === 0)
  const last = tree.findIndex((row, index) => index >= at && row.last)
  return tree.slice(first, last + 1).map((row) => row.archive)
}
