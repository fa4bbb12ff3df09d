/** Archives as a table: each chain as a tree, or simply the newest first. */

import { useMemo } from 'preact/hooks'
import type { ArchiveRow } from '../../../house.ts'
import { formatBytes } from '../../format.ts'
import { Badge } from '../../parts/basics.tsx'
import { Icon } from '../../parts/icons.tsx'
import { type Column, Rows } from '../../parts/rows.tsx'
import { At } from '../../parts/time.tsx'
import { href } from '../../router.ts'
import { ArchiveMenu } from './actions.tsx'
import { Checks } from './checks.tsx'
import { chainsOf, type TreeRow } from './tree.ts'

/** `flat`: by time. `named`: with the guest of each. */
export function Chains({ rows, flat, named }: { rows: ArchiveRow[]; flat?: boolean; named?: boolean }) {
  const tree = useMemo(
    () =>
      flat
        ? rows.map((archive) => ({ archive, depth: 0, last: true, orphan: false }) satisfies TreeRow)
        : chainsOf(rows),
    [rows, flat],
  )
  const columns = useMemo(() => columnsOf(!!named, !!flat), [named, flat])
  return (
    <Rows
      label="Archives"
      rows={tree}
      columns={columns}
      id={({ archive }) => `${archive.host} ${archive.id}`}
      height={48}
      cardHeight={164}
      tone={({ depth, last }) => `${depth === 0 ? 'chain-first' : 'chain-next'} ${last ? 'chain-last' : ''}`}
    />
  )
}

function columnsOf(named: boolean, flat: boolean): Column<TreeRow>[] {
  const guest: Column<TreeRow> = {
    key: 'guest',
    title: 'Guest',
    width: '15%',
    cell: ({ archive: { host, guest: name } }) =>
      name === null ? (
        <span class="quiet">unknown</span>
      ) : (
        <a class="name" href={href('guest', [host, name])} title={`${name} on ${host}`}>
          {name}
        </a>
      ),
  }
  return [
    {
      key: 'archive',
      lead: true,
      title: flat ? 'Archive' : 'Chain',
      cell: ({ archive, depth, orphan }) => <Name archive={archive} depth={depth} orphan={orphan} flat={flat} />,
    },
    ...(named ? [guest] : []),
    {
      key: 'place',
      title: 'Place',
      width: '13%',
      cell: ({ archive: { place, host } }) => (
        <div class="two-lines">
          <span class="clip">{place}</span>
          <span class="sub">{host}</span>
        </div>
      ),
    },
    { key: 'size', title: 'Size', end: true, width: '104px', cell: ({ archive }) => formatBytes(archive.size) },
    { key: 'checks', title: 'Checks', width: '23%', cell: ({ archive }) => <Checks archive={archive} /> },
    {
      key: 'do',
      title: 'Actions',
      quiet: true,
      end: true,
      width: '48px',
      cell: ({ archive }) => <ArchiveMenu archive={archive} />,
    },
  ]
}

function Name({
  archive,
  depth,
  orphan,
  flat,
}: {
  archive: ArchiveRow
  depth: number
  orphan: boolean
  flat: boolean
}) {
  const { host, id, kind, at, name, encrypted, locked, notes, unreadable } = archive
  return (
    <div class="archive-name">
      {!flat && <span class="rail" style={{ width: `${depth * 18}px` }} aria-hidden="true" />}
      <span class={`kind ${kind}`} title={kind}>
        <Icon name={kind} size={14} />
      </span>
      <div class="two-lines">
        <a class="name" href={href('archive', [host, id])} title={name}>
          {at === null ? name : <At at={at} />}
        </a>
        <span class="sub">
          {kind}
          {encrypted && ', encrypted'}
          {locked && ': no key here'}
          {orphan && <span class="bad">, its parent is missing</span>}
          {unreadable && <span class="bad">, {unreadable}</span>}
          {notes && <span title={notes}>, “{notes.split('\n')[0]}”</span>}
        </span>
      </div>
      {archive.protected && (
        <Badge tone="plain" icon="lock" title="No prune removes it">
          protected
        </Badge>
      )}
    </div>
  )
}
