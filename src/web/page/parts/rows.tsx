/**
 * A table of which only the rows on the screen are in the document, so that 20,000 guests are as quick as twenty. All rows have the
 * same height; on a phone each is a card.
 */

import type { ComponentChildren } from 'preact'
import { useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks'
import { Icon } from './icons.tsx'

export interface Column<T> {
  key: string
  title: string
  /** The title is for screen readers alone. */
  quiet?: boolean
  /** Figures are at the right. */
  end?: boolean
  /** Its part of the width, such as "20%". */
  width?: string
  sortable?: boolean
  /** Left out on a phone. */
  wide?: boolean
  /** What the row is: the head of its card on a phone. */
  lead?: boolean
  cell: (row: T) => ComponentChildren
}

interface RowsProps<T> {
  label: string
  rows: readonly T[]
  columns: Column<T>[]
  id: (row: T) => string
  /** Pixels of a row, and of a card on a phone. */
  height?: number
  cardHeight?: number
  sort?: { key: string; down: boolean }
  onSort?: (key: string) => void
  /** A class for the row. */
  tone?: (row: T) => string
}

/** Rows beyond the edges of the screen, so that scrolling shows no holes. */
const BEYOND = 8
/** Up to so many rows all are in the document: a browser's own search finds them. */
const ALL = 60
const PHONE = '(max-width: 720px)'

export function Rows<T>(props: RowsProps<T>) {
  const { label, rows, columns, id, height = 44, cardHeight = 116, sort, onSort, tone } = props
  const body = useRef<HTMLTableSectionElement>(null)
  const phone = useMedia(PHONE)
  const row = phone ? cardHeight : height
  const { first, last } = useWindow(body, rows.length, row)
  const ordered = (key: string) => (sort?.key === key ? (sort.down ? 'descending' : 'ascending') : 'none')
  return (
    <table class="rows" aria-label={label} aria-rowcount={rows.length + 1}>
      <thead>
        <tr>
          {columns.map(({ key, title, quiet, end, width, sortable }) => (
            <th
              key={key}
              scope="col"
              class={end ? 'end' : ''}
              style={width ? { width } : undefined}
              aria-sort={sortable && onSort ? ordered(key) : undefined}
            >
              {sortable && onSort ? (
                <button type="button" class="sort" onClick={() => onSort(key)}>
                  {title}
                  {sort?.key === key && <Icon name={sort.down ? 'down' : 'up'} size={12} />}
                </button>
              ) : (
                <span class={quiet ? 'visually-hidden' : ''}>{title}</span>
              )}
            </th>
          ))}
        </tr>
      </thead>
      <tbody ref={body}>
        {first > 0 && <Space height={first * row} columns={columns.length} />}
        {rows.slice(first, last).map((each, index) => (
          <tr
            key={id(each)}
            class={tone?.(each) ?? ''}
            aria-rowindex={first + index + 2}
            style={{ height: `${row}px` }}
          >
            {columns.map(({ key, title, end, wide, lead, quiet, cell }) => (
              <td
                key={key}
                class={`${end ? 'end' : ''} ${wide ? 'wide-only' : ''} ${lead ? 'lead' : ''} c-${key}`}
                data-label={quiet ? undefined : title}
              >
                {cell(each)}
              </td>
            ))}
          </tr>
        ))}
        {last < rows.length && <Space height={(rows.length - last) * row} columns={columns.length} />}
      </tbody>
    </table>
  )
}

function Space({ height, columns }: { height: number; columns: number }) {
  return (
    // biome-ignore lint/a11y/noAriaHiddenOnFocusable: a row is not focusable
    <tr class="space" aria-hidden="true" style={{ height: `${height}px` }}>
      <td colSpan={columns} />
    </tr>
  )
}

/** Which rows are on the screen. */
function useWindow(body: { current: HTMLElement | null }, count: number, row: number): { first: number; last: number } {
  const [range, setRange] = useState({ first: 0, last: Math.min(count, 40) })
  const look = () => {
    if (body.current === null || count <= ALL) return
    const above = -body.current.getBoundingClientRect().top
    const first = Math.max(0, Math.floor(above / row) - BEYOND)
    const last = Math.min(count, Math.ceil((above + innerHeight) / row) + BEYOND)
    const from = Math.min(first, Math.max(0, count - 1))
    setRange((was) => (was.first === from && was.last === last ? was : { first: from, last: Math.max(last, from) }))
  }
  useLayoutEffect(look, [count, row])
  useEffect(() => {
    addEventListener('scroll', look, { passive: true })
    addEventListener('resize', look)
    return () => {
      removeEventListener('scroll', look)
      removeEventListener('resize', look)
    }
  }, [count, row])
  if (count <= ALL) return { first: 0, last: count }
  return { first: Math.min(range.first, count), last: Math.min(range.last, count) }
}

export function useMedia(query: string): boolean {
  const [matches, setMatches] = useState(() => matchMedia(query).matches)
  useEffect(() => {
    const media = matchMedia(query)
    const change = () => setMatches(media.matches)
    media.addEventListener('change', change)
    return () => media.removeEventListener('change', change)
  }, [query])
  return matches
}
