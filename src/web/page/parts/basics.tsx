/** Small pieces of every view: heads, empty states, problems, labels. */

import type { ComponentChildren } from 'preact'
import { useEffect } from 'preact/hooks'
import type { Resource } from '../state/resource.ts'
import { houseName } from '../state/session.ts'
import { Icon, type IconName } from './icons.tsx'

interface HeadProps {
  title: string
  /** Views above this one. */
  above?: { text: string; link: string }[]
  about?: ComponentChildren
  children?: ComponentChildren
}

/** The head of a view, which names the browser's tab too. `children` are its buttons. */
export function Head({ title, above = [], about, children }: HeadProps) {
  useEffect(() => {
    document.title = `${title} · ${houseName.value || 'vmapipe'}`
  }, [title, houseName.value])
  return (
    <header class="head">
      <div class="head-text">
        {above.length > 0 && (
          <nav class="crumbs" aria-label="Above this page">
            {above.map(({ text, link }) => (
              <span key={link}>
                <a href={link}>{text}</a>
                <Icon name="right" size={10} />
              </span>
            ))}
          </nav>
        )}
        <h1 tabIndex={-1}>{title}</h1>
        {about && <p class="about">{about}</p>}
      </div>
      {children && <div class="head-actions">{children}</div>}
    </header>
  )
}

export function Empty({ icon, title, children }: { icon: IconName; title: string; children?: ComponentChildren }) {
  return (
    <div class="empty">
      <span class="empty-icon">
        <Icon name={icon} size={22} />
      </span>
      <h2>{title}</h2>
      {children && <div class="empty-text">{children}</div>}
    </div>
  )
}

/** Shows what was loaded; until then that it loads, or why it cannot be. What was loaded once stays if it cannot be loaded again. */
export function Loaded<T>({ from, children }: { from: Resource<T>; children: (data: T) => ComponentChildren }) {
  const data = from.data.value
  const error = from.error.value
  return (
    <>
      {error && (
        <Alert kind="bad" title={error.message}>
          {error.hint && <p>{error.hint}</p>}
          <button type="button" class="button small" onClick={() => from.refresh()}>
            Try again
          </button>
        </Alert>
      )}
      {data === undefined ? !error && <Loading /> : children(data)}
    </>
  )
}

export function Loading() {
  return (
    <div class="loading" role="status">
      <span class="visually-hidden">Loading</span>
      <i />
      <i />
      <i />
    </div>
  )
}

export function Alert(props: { kind: 'bad' | 'warn' | 'info'; title?: string; children?: ComponentChildren }) {
  const icon = { bad: 'failed', warn: 'overdue', info: 'info' } as const
  return (
    <div class={`alert ${props.kind}`} role={props.kind === 'bad' ? 'alert' : undefined}>
      <Icon name={icon[props.kind]} />
      <div>
        {props.title && <p class="alert-title">{props.title}</p>}
        {props.children}
      </div>
    </div>
  )
}

export function Section(props: {
  title: string
  note?: ComponentChildren
  actions?: ComponentChildren
  children: ComponentChildren
}) {
  const id = `s-${props.title.toLowerCase().replaceAll(/[^a-z0-9]+/g, '-')}`
  return (
    <section class="section" aria-labelledby={id}>
      <div class="section-head">
        <h2 id={id}>{props.title}</h2>
        {props.note && <span class="quiet">{props.note}</span>}
        {props.actions && <div class="section-actions">{props.actions}</div>}
      </div>
      {props.children}
    </section>
  )
}

/** A figure with its name above it. */
export function Figure({
  name,
  children,
  sub,
}: {
  name: string
  children: ComponentChildren
  sub?: ComponentChildren
}) {
  return (
    <div class="figure">
      <dt>{name}</dt>
      <dd>
        <span class="figure-value">{children}</span>
        {sub && <span class="figure-sub">{sub}</span>}
      </dd>
    </div>
  )
}

export type Tone = 'good' | 'warn' | 'bad' | 'accent' | 'plain'

/** A state: colour, icon and word, never the colour alone. */
export function Badge({ tone, icon, children, title }: BadgeProps) {
  return (
    <span class={`badge ${tone}`} title={title}>
      {icon && <Icon name={icon} size={13} />}
      <span>{children}</span>
    </span>
  )
}

interface BadgeProps {
  tone: Tone
  icon?: IconName
  title?: string
  children: ComponentChildren
}

export function Progress({ value, label }: { value: number | null; label: string }) {
  return (
    <div
      class={`progress ${value === null ? 'unknown' : ''}`}
      role="progressbar"
      aria-label={label}
      aria-valuemin={0}
      aria-valuemax={100}
      aria-valuenow={value === null ? undefined : Math.floor(value)}
    >
      <i style={{ transform: `scaleX(${value === null ? 1 : value / 100})` }} />
    </div>
  )
}
