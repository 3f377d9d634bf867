import { createLogUpdate } from "log-update";

/** Where the demo shows itself: a terminal that is drawn again and again, or plain lines. */
export type Screen = {
  /** A line that stays. */
  print(line: string): void;
  /** What a terminal shows below the lines, until it is replaced. Plain output goes without. */
  draw(picture: () => string): void;
  /** A line that tells in plain output what the terminal's picture shows. */
  tell(line: string): void;
  /** The picture is taken away. */
  end(): void;
};

const REDRAW_MS = 100;

/** A picture that does not fit cannot be drawn over. */
const COLUMNS_NEEDED = 80;
const ROWS_NEEDED = 24;

/** A screen on a stream; no cursor is moved unless it is a terminal where that works. */
export function createScreen(stream: NodeJS.WriteStream): Screen {
  const print = (line: string) => void stream.write(`${line}\n`);
  const isLarge = stream.columns >= COLUMNS_NEEDED && stream.rows >= ROWS_NEEDED;
  if (!stream.isTTY || !isLarge || process.env.TERM === "dumb") {
    return { print, draw: () => undefined, tell: print, end: () => undefined };
  }
  const update = createLogUpdate(stream);
  let redrawing: NodeJS.Timeout | undefined;
  return {
    print(line) {
      update.clear();
      print(line);
    },
    draw(picture) {
      clearInterval(redrawing);
      update(picture());
      redrawing = setInterval(() => update(picture()), REDRAW_MS);
    },
    tell: () => undefined,
    end() {
      clearInterval(redrawing);
      update.clear();
      update.done();
    },
  };
}
