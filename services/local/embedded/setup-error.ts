/** Something the person at the terminal has to put right. The message is one sentence that says what and how. */
export class SetupError extends Error {
  override readonly name = "SetupError";
}
