// Package journal carries out changes of a host so that a crash at any moment ends in
// the old or in the new state.
//
// A change is a list of [Step] values. Before the first of them runs, an [Intent] that
// is enough to make the same list again is on disk (one bbolt transaction, synced).
// After the last one, the intent goes and what it leads to is recorded, in one
// transaction. When a step fails, the steps are undone in reverse. When the process
// dies, [Journal.Recover] at the next start finds the intent and brings the host to one
// of both ends.
//
// Rules for steps: Do and Undo may run any number of times, in any state that earlier
// steps can have left; Undo of a step that never ran does nothing. They honour their
// context's deadline.
//
// The package owns the intents and the order of things. It never knows what a step
// does, and it never retries on its own: an intent that can be neither finished nor
// undone stays, and [ErrStuck] tells its owner to call Recover again later.
package journal
