/**
 * The planner's database: PostgreSQL, or PGlite, which is PostgreSQL in this process, with its data in a folder. Both take the same SQL.
 * All values are parameters, never part of a statement.
 */

/** Runs statements one after the other, in a transaction or each by itself. */
export interface Session {
  /** Runs one statement and gives its rows. */
  query<R = Record<string, unknown>>(text: string, values?: readonly unknown[]): Promise<R[]>
  /** As pg-boss asks: several statements if there are no values, and then the rows of all of them. */
  executeSql(text: string, values?: unknown[]): Promise<{ rows: any[] }>
}

/** `rows` are those of the first statement of the transaction, if there was one. */
export type TransactionBody<T> = (session: Session, rows: Record<string, unknown>[]) => Promise<T>

/** Errors: FAILED 'the database is away' if there is no connection; the same for what was under way, which may or may not have been done. */
export interface Database extends Session {
  readonly kind: 'postgres' | 'pglite'
  /** What people may see of it: no password. */
  readonly name: string
  readonly isAway: boolean
  /**
   * Commits what `body` did if it resolves, and takes all of it back if it rejects. `first` is a statement without values, which is asked
   * together with the begin, and whose rows `body` gets.
   */
  transaction<T>(body: TransactionBody<T>, first?: string): Promise<T>
  /** Called when the database is there again after it was away. Returns what ends it. */
  onReturn(back: () => void): () => void
  /**
   * Waits until no other planner has this database, and has it from then on. `lost` is called once if the connection that has the lock ends:
   * another planner may have taken over. Rejects if `signal` is aborted or there is no connection.
   */
  lock(asked: { waits: () => void; lost: () => void; signal: AbortSignal }): Promise<Lock>
  close(): Promise<void>
}

export interface Lock {
  release(): Promise<void>
}

export interface DatabaseOptions {
  /** postgres://…; PGlite if it is not given. */
  database?: string
  /** The folder of PGlite. */
  folder: string
  /** What is going on, for people: one line. */
  inform: (line: string) => void
  warn: (line: string) => void
  /** Gives up to wait for a database that is away. */
  signal?: AbortSignal
}
