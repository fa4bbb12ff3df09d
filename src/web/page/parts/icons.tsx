/** Icons of 16 pixels, drawn with the colour of the text. They are beside a word or have a label of their own, so they are hidden from screen readers. */

const PATHS = {
  now: 'M1.5 8.5h3l2-5 3 9 2-4h3',
  guests: 'M2.5 3.5h11v7h-11zM5.5 13.5h5M8 10.5v3',
  archives: 'M2 3h12v3H2zM3 6v7h10V6M6.5 8.5h3',
  jobs: 'M8 1.8a6.2 6.2 0 1 0 0 12.4A6.2 6.2 0 0 0 8 1.8zM8 4.5V8l2.4 1.6',
  hosts: 'M2.5 2.5h11v4h-11zM2.5 9.5h11v4h-11zM5 4.5h.01M5 11.5h.01',
  settings:
    'M2 4.5h7M12.5 4.5H14M2 11.5h1.5M7 11.5h7M10.7 3a1.5 1.5 0 1 0 0 3 1.5 1.5 0 0 0 0-3zM5.2 10a1.5 1.5 0 1 0 0 3 1.5 1.5 0 0 0 0-3z',
  good: 'M8 1.8a6.2 6.2 0 1 0 0 12.4A6.2 6.2 0 0 0 8 1.8zM5.4 8.2l1.8 1.8 3.4-3.8',
  late: 'M8 1.8a6.2 6.2 0 1 0 0 12.4A6.2 6.2 0 0 0 8 1.8zM8 4.5V8l2.4 1.6',
  overdue: 'M8 2 1.6 13.5h12.8zM8 6.3v3.4M8 11.6h.01',
  unprotected: 'M8 1.6 2.8 3.5v4.2c0 3.3 2.2 5.6 5.2 6.7 3-1.1 5.2-3.4 5.2-6.7V3.5zM6.2 5.9l3.6 3.6M9.8 5.9 6.2 9.5',
  failed: 'M8 1.8a6.2 6.2 0 1 0 0 12.4A6.2 6.2 0 0 0 8 1.8zM5.9 5.9l4.2 4.2M10.1 5.9l-4.2 4.2',
  waiting: 'M4.5 2h7M4.5 14h7M5 2c0 3.5 6 4 6 6s-6 2.5-6 6M11 2c0 3.5-6 4-6 6s6 2.5 6 6',
  running: 'M5 3.2v9.6L12.8 8z',
  shield: 'M8 1.6 2.8 3.5v4.2c0 3.3 2.2 5.6 5.2 6.7 3-1.1 5.2-3.4 5.2-6.7V3.5zM5.6 7.9l1.7 1.7 3.1-3.3',
  screen: 'M2 3h12v8H2zM5.5 13.5h5',
  lock: 'M3.5 7h9v6.5h-9zM5.3 7V5a2.7 2.7 0 0 1 5.4 0v2',
  key: 'M5.2 7.3a2.9 2.9 0 1 0 0 5.8 2.9 2.9 0 0 0 0-5.8zM7.3 8.1 13 2.5M10.8 4.7l1.9 1.9',
  note: 'M3 2.5h10v8l-3 3H3zM5.5 5.5h5M5.5 8.5h3M10 13.5v-3h3',
  restore: 'M2.5 8a5.5 5.5 0 1 0 1.8-4.1M2.5 2.2v3.2h3.2M8 5.2V8l2 1.3',
  download: 'M8 2v7.5M4.8 6.6 8 9.8l3.2-3.2M2.5 13.5h11',
  prune: 'M2.5 4h11M6 4V2.5h4V4M4 4l.6 9.5h6.8L12 4M6.7 6.8v4M9.3 6.8v4',
  search: 'M7 2.2a4.8 4.8 0 1 0 0 9.6 4.8 4.8 0 0 0 0-9.6zM10.6 10.6l3.2 3.2',
  close: 'M3.5 3.5l9 9M12.5 3.5l-9 9',
  copy: 'M5.5 5.5h8v8h-8zM10.5 5.5v-3h-8v8h3',
  check: 'M3 8.5l3.3 3.3L13 4.7',
  down: 'M4 6l4 4 4-4',
  up: 'M4 10l4-4 4 4',
  right: 'M6 3.5 10.5 8 6 12.5',
  arrow: 'M1 8h13M10.5 4.5 14 8l-3.5 3.5',
  more: 'M3.5 8h.01M8 8h.01M12.5 8h.01',
  sun: 'M8 5.2a2.8 2.8 0 1 0 0 5.6 2.8 2.8 0 0 0 0-5.6zM8 1.2v1.4M8 13.4v1.4M1.2 8h1.4M13.4 8h1.4M3.2 3.2l1 1M11.8 11.8l1 1M12.8 3.2l-1 1M4.2 11.8l-1 1',
  moon: 'M13.5 9.4A5.8 5.8 0 0 1 6.6 2.5a5.8 5.8 0 1 0 6.9 6.9z',
  folder: 'M1.8 3.5h4.4l1.5 1.8h6.5v7.7H1.8z',
  file: 'M3.5 1.8h6l3 3v9.4h-9zM9.5 1.8v3h3',
  help: 'M8 1.8a6.2 6.2 0 1 0 0 12.4A6.2 6.2 0 0 0 8 1.8zM6.2 6.3a1.9 1.9 0 1 1 2.6 1.8c-.6.2-.8.6-.8 1.2M8 11.3h.01',
  user: 'M8 2.2a2.9 2.9 0 1 0 0 5.8 2.9 2.9 0 0 0 0-5.8zM2.6 13.8c.4-2.8 2.6-4.2 5.4-4.2s5 1.4 5.4 4.2',
  full: 'M8 2.2 13.4 5v6L8 13.8 2.6 11V5zM2.6 5 8 7.9 13.4 5M8 7.9v5.9',
  incremental: 'M8 3v10M3 8h10',
  info: 'M8 1.8a6.2 6.2 0 1 0 0 12.4A6.2 6.2 0 0 0 8 1.8zM8 7.4v3.6M8 5h.01',
  offline: 'M2 2l12 12M3.2 6.6a7 7 0 0 1 2-1.4M8 4.4c1.8 0 3.5.8 4.8 2.2M5.6 9.1A3.6 3.6 0 0 1 7 8.2M8 12.2h.01',
  signout: 'M6 2.5H2.5v11H6M6.5 8h7M10.8 5.2 13.5 8l-2.7 2.8',
}

export type IconName = keyof typeof PATHS

export function Icon({ name, size = 16 }: { name: IconName; size?: number }) {
  return (
    <svg
      class="icon"
      width={size}
      height={size}
      viewBox="0 0 16 16"
      fill="none"
      stroke="currentColor"
      stroke-width={name === 'more' ? 2.2 : 1.4}
      stroke-linecap="round"
      stroke-linejoin="round"
      aria-hidden="true"
    >
      <path d={PATHS[name]} />
    </svg>
  )
}
