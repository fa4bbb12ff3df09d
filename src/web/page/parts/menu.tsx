/** A button that opens a list of actions. Arrow keys move, Escape closes and gives the focus back. */

import type { ComponentChildren } from 'preact'
import { useLayoutEffect, useRef, useState } from 'preact/hooks'
import { Icon, type IconName } from './icons.tsx'

export interface MenuItem {
  icon: IconName
  text: string
  run?: () => void
  link?: string
  danger?: boolean
  /** It is not possible: why. */
  why?: string | null
}

interface MenuProps {
  label: string
  items: (MenuItem | null)[]
  children?: ComponentChildren
}

export function Menu({ label, items, children }: MenuProps) {
  const [open, setOpen] = useState(false)
  const root = useRef<HTMLDivElement>(null)
  const shown = items.filter((item) => item !== null)
  useLayoutEffect(() => {
    if (!open) return
    const list = root.current!.querySelector('.menu-list')!
    const { bottom, height } = list.getBoundingClientRect()
    const above = root.current!.getBoundingClientRect().top
    // On a phone the navigation is at the bottom.
    const end = document.querySelector('.side nav')!.getBoundingClientRect().top
    list.classList.toggle('up', bottom > (end > above ? end : innerHeight) && height < above)
    root.current!.querySelector<HTMLElement>('[role=menuitem]')?.focus({ preventScroll: true })
    const outside = (event: Event) => {
      if (!root.current?.contains(event.target as Node)) setOpen(false)
    }
    document.addEventListener('pointerdown', outside)
    return () => document.removeEventListener('pointerdown', outside)
  }, [open])
  if (shown.length === 0) return null
  const close = () => {
    setOpen(false)
    root.current?.querySelector('button')?.focus()
  }
  const onKeyDown = (event: KeyboardEvent) => {
    if (!open) return
    const all = [...root.current!.querySelectorAll<HTMLElement>('[role=menuitem]')]
    const at = all.indexOf(document.activeElement as HTMLElement)
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: all.length - 1 }[event.key]
    if (to !== undefined) all.at(to % all.length)?.focus()
    else if (event.key === 'Escape') close()
    else if (event.key === 'Tab') setOpen(false)
    if (to !== undefined || event.key === 'Escape') {
      event.preventDefault()
      event.stopPropagation()
    }
  }
  return (
    // biome-ignore lint/a11y/noStaticElementInteractions: it hears the keys of the buttons within
    <div class="menu" ref={root} onKeyDown={onKeyDown}>
      <button
        type="button"
        class={children ? 'button' : 'button ghost icon-only'}
        aria-label={children ? undefined : label}
        aria-haspopup="menu"
        aria-expanded={open}
        onClick={() => setOpen(!open)}
      >
        {children ?? <Icon name="more" />}
      </button>
      {open && (
        <div class="menu-list" role="menu" aria-label={label}>
          {shown.map((item) => (
            <Item key={item.text} item={item} close={close} />
          ))}
        </div>
      )}
    </div>
  )
}

function Item({ item, close }: { item: MenuItem; close: () => void }) {
  const { icon, text, run, link, danger, why } = item
  const content = (
    <>
      <Icon name={icon} />
      <span>
        {text}
        {why && <small>{why}</small>}
      </span>
    </>
  )
  if (link !== undefined)
    return (
      <a role="menuitem" class="menu-item" href={link} tabIndex={-1} onClick={close}>
        {content}
      </a>
    )
  const click = () => {
    close()
    run?.()
  }
  return (
    <button
      type="button"
      role="menuitem"
      class={`menu-item ${danger ? 'danger' : ''}`}
      tabIndex={-1}
      aria-disabled={!!why}
      onClick={why ? undefined : click}
    >
      {content}
    </button>
  )
}
