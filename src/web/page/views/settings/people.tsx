/** Accounts and their roles. */

import { useState } from 'preact/hooks'
import type { AccountRow } from '../../../api.ts'
import type { Role } from '../../../house.ts'
import { count, exactTime } from '../../format.ts'
import { Empty, Loaded, Section } from '../../parts/basics.tsx'
import { Command } from '../../parts/copy.tsx'
import { closeDialog, confirm, Dialog, DialogEnd, showDialog } from '../../parts/dialog.tsx'
import { Choice, Field } from '../../parts/field.tsx'
import { Icon } from '../../parts/icons.tsx'
import { Menu } from '../../parts/menu.tsx'
import { type Column, Rows } from '../../parts/rows.tsx'
import { Ago } from '../../parts/time.tsx'
import { post } from '../../state/api.ts'
import { useResource } from '../../state/resource.ts'
import { ROLES } from '../../state/session.ts'
import { toast, toastError } from '../../state/toasts.ts'

const ROLE_OPTIONS = (Object.keys(ROLES) as Role[]).map((value) => ({ value, text: `${value}: ${ROLES[value]}` }))

export function People() {
  const held = useResource<AccountRow[]>('accounts', {}, null)
  const send = async (path: string, body: object, said: string): Promise<boolean> => {
    try {
      await post(path, body)
      toast('done', said)
      await held.refresh()
      return true
    } catch (error) {
      toastError(error)
      return false
    }
  }
  return (
    <Section
      title="People"
      note={held.data.value && count(held.data.value.length, 'account')}
      actions={
        <>
          <button type="button" class="button small" onClick={() => showDialog(() => <NewLink />)}>
            <Icon name="key" size={14} /> One-time link …
          </button>
          <button
            type="button"
            class="button small primary"
            onClick={() => showDialog(() => <NewAccount send={send} />)}
          >
            <Icon name="incremental" size={14} /> Add an account …
          </button>
        </>
      }
    >
      <Loaded from={held}>
        {(rows) =>
          rows.length === 0 ? (
            <Empty icon="user" title="There are no accounts yet">
              <p>People come by one-time links, until there are accounts with passwords.</p>
            </Empty>
          ) : (
            <Rows label="People" rows={rows} columns={columnsFor(send)} id={({ name }) => name} cardHeight={110} />
          )
        }
      </Loaded>
    </Section>
  )
}

type Send = (path: string, body: object, said: string) => Promise<boolean>

const columnsFor = (send: Send): Column<AccountRow>[] => [
  { key: 'name', lead: true, title: 'Name', cell: ({ name }) => <strong class="clip">{name}</strong> },
  {
    key: 'role',
    title: 'Role',
    width: '24%',
    cell: ({ name, role }) => (
      <Choice
        quiet
        label={`Role of ${name}`}
        value={role}
        options={ROLE_OPTIONS.map(({ value }) => ({ value, text: value }))}
        onValue={(value) => void send('accounts/change', { name, role: value }, `${name} may now ${value}`)}
      />
    ),
  },
  {
    key: 'created',
    title: 'Password changed',
    width: '22%',
    cell: ({ changed }) => <Ago at={changed} />,
  },
  {
    key: 'do',
    title: 'Actions',
    quiet: true,
    end: true,
    width: '48px',
    cell: ({ name }) => (
      <Menu
        label={`Actions for ${name}`}
        items={[
          {
            icon: 'key',
            text: 'New password …',
            run: () => showDialog(() => <NewPassword name={name} send={send} />),
          },
          { icon: 'prune', text: 'Remove …', danger: true, run: () => askRemove(name, send) },
        ]}
      />
    ),
  },
]

function askRemove(name: string, send: Send): void {
  confirm({
    title: `Remove the account of ${name}?`,
    button: 'Remove the account',
    danger: true,
    run: () => send('accounts/remove', { name }, `The account of ${name} is removed`),
    children: <p>{name} is signed out everywhere and cannot sign in again. The audit log keeps what they did.</p>,
  })
}

function NewAccount({ send }: { send: Send }) {
  const [name, setName] = useState('')
  const [password, setPassword] = useState('')
  const [role, setRole] = useState<string>('look')
  const add = async (event: Event) => {
    event.preventDefault()
    if (await send('accounts/add', { name, password, role }, `${name} can sign in`)) closeDialog()
  }
  return (
    <Dialog title="Add an account">
      <form class="dialog-body" onSubmit={add}>
        <Field label="Name" value={name} onValue={setName} autoComplete="off" required />
        <Field
          label="Password"
          type="password"
          value={password}
          onValue={setPassword}
          autoComplete="new-password"
          required
        />
        <Choice label="Role" value={role} options={ROLE_OPTIONS} onValue={setRole} />
        <DialogEnd>
          <button type="submit" class="button primary">
            Add the account
          </button>
        </DialogEnd>
      </form>
    </Dialog>
  )
}

function NewPassword({ name, send }: { name: string; send: Send }) {
  const [password, setPassword] = useState('')
  const change = async (event: Event) => {
    event.preventDefault()
    if (await send('accounts/change', { name, password }, `${name} has a new password`)) closeDialog()
  }
  return (
    <Dialog title={`New password for ${name}`} about="All sessions of the account end.">
      <form class="dialog-body" onSubmit={change}>
        <Field
          label="New password"
          type="password"
          value={password}
          onValue={setPassword}
          autoComplete="new-password"
          required
        />
        <DialogEnd>
          <button type="submit" class="button primary">
            Set the password
          </button>
        </DialogEnd>
      </form>
    </Dialog>
  )
}

function NewLink() {
  const [role, setRole] = useState<string>('look')
  const [made, setMade] = useState<{ link: string; expires: string } | null>(null)
  const make = async (event: Event) => {
    event.preventDefault()
    try {
      setMade(await post('links', { role }))
    } catch (error) {
      toastError(error)
    }
  }
  return (
    <Dialog title="One-time link" about="Whoever opens it first is signed in. It works once.">
      <form class="dialog-body" onSubmit={make}>
        {made === null ? (
          <Choice label="Role" value={role} options={ROLE_OPTIONS} onValue={setRole} />
        ) : (
          <>
            <Command text={made.link} label="One-time link" />
            <p class="quiet">Works until {exactTime(made.expires)}.</p>
          </>
        )}
        <DialogEnd cancel={made === null ? 'Cancel' : 'Close'}>
          {made === null && (
            <button type="submit" class="button primary">
              Make the link
            </button>
          )}
        </DialogEnd>
      </form>
    </Dialog>
  )
}
