/** Dialogs: the browser's own <dialog>, which holds the focus, closes by Escape, and gives the focus back. One is open at a time. */

import { computed, signal } from '@preact/signals'
import type { ComponentChildren } from 'preact'
import { useLayoutEffect, useRef } from 'preact/hooks'
import { Icon } from './icons.tsx'
import { Toasts } from './toasts.tsx'

const open = signal<(() => ComponentChildren) | null>(null)
export const dialogIsOpen = computed(() => open.value !== null)

export function showDialog(content: () => ComponentChildren): void {
  open.value = content
}

export function closeDialog(): void {
  const dialog = document.querySelector('dialog')
  if (dialog === null) return
  // Gives the focus back to what had it; what has gone meanwhile cannot get it.
  dialog.close()
  open.value = null
  if (document.activeElement === document.body) document.querySelector<HTMLElement>('h1')?.focus()
}

export function DialogHost() {
  const content = open.value
  return content === null ? null : <Frame key={content}>{content()}</Frame>
}

function Frame({ children }: { children: ComponentChildren }) {
  const ref = useRef<HTMLDialogElement>(null)
  // Text that is selected to beyond the edge ends with a click there, too.
  const beganOutside = useRef(false)
  useLayoutEffect(() => {
    ref.current?.showModal()
  }, [])
  return (
    // biome-ignore lint/a11y/useKeyWithClickEvents: the browser closes it by Escape
    <dialog
      ref={ref}
      aria-labelledby="dialog-title"
      onCancel={(event) => {
        event.preventDefault()
        closeDialog()
      }}
      onPointerDown={(event) => {
        beganOutside.current = event.target === ref.current
      }}
      onClick={(event) => {
        if (event.target === ref.current && beganOutside.current) closeDialog()
      }}
    >
      {children}
      <Toasts />
    </dialog>
  )
}

interface DialogProps {
  title: string
  about?: ComponentChildren
  wide?: boolean
  children: ComponentChildren
}

/** The content of a dialog. */
export function Dialog({ title, about, wide, children }: DialogProps) {
  return (
    <div class={`dialog ${wide ? 'wide' : ''}`}>
      <header class="dialog-head">
        <div>
          <h2 id="dialog-title">{title}</h2>
          {about && <p class="about">{about}</p>}
        </div>
        <button type="button" class="button ghost icon-only" aria-label="Close" onClick={closeDialog}>
          <Icon name="close" />
        </button>
      </header>
      {children}
    </div>
  )
}

/** The buttons at the end of a dialog. `children` comes last: the button that does it. */
export function DialogEnd({ children, cancel = 'Cancel' }: { children?: ComponentChildren; cancel?: string }) {
  return (
    <footer class="dialog-end">
      <button type="button" class="button" onClick={closeDialog}>
        {cancel}
      </button>
      {children}
    </footer>
  )
}

interface ConfirmProps {
  title: string
  /** What exactly happens. */
  children: ComponentChildren
  button: string
  danger?: boolean
  /** Returns whether the dialog closes. */
  run: () => Promise<boolean>
}

/** Asks before something is done that cannot be undone, or that is easily done by mistake. */
export function confirm(props: ConfirmProps): void {
  showDialog(() => <Confirm {...props} />)
}

function Confirm({ title, children, button, danger, run }: ConfirmProps) {
  return (
    <Dialog title={title}>
      <form
        class="dialog-body"
        onSubmit={async (event) => {
          event.preventDefault()
          if (await run()) closeDialog()
        }}
      >
        <div class="prose">{children}</div>
        <DialogEnd cancel="Leave it">
          <button type="submit" class={`button ${danger ? 'danger' : 'primary'}`}>
            {button}
          </button>
        </DialogEnd>
      </form>
    </Dialog>
  )
}
