/** The trailer that says that an archive is whole. A response that is not ends without its last chunk. */
export const OUTCOME = 'Vmapipe-Outcome'
export const COMPLETE = 'complete'
