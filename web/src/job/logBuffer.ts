/** Lines that are drawn together. A block that is full never changes again, so that it is drawn once. */
export interface Block {
  key: number;
  text: string;
}

const linesPerBlock = 200;

// Terminal control sequences: the page shows the text alone.
const escapes = /\u001b(?:\[[0-9;?]*[ -/]*[@-~]|\][^\u0007\u001b]*(?:\u0007|\u001b\\)|[@-Z\\-_])/g;

/** The end of a log: as many of its last lines as a browser shows without effort. */
export class LogBuffer {
  private blocks: Block[] = [];
  private lines = 0; // in the last block
  private nextKey = 0;
  private readonly maxBlocks: number;
  /** Whether lines of the beginning were dropped. */
  truncated = false;

  constructor(maxBlocks = 50) {
    this.maxBlocks = maxBlocks;
  }

  append(text: string): void {
    const pieces = text.replace(escapes, '').replaceAll('\r\n', '\n').split('\n');
    pieces.forEach((piece, index) => {
      const last = index === pieces.length - 1;
      if (last && piece === '') {
        return;
      }
      this.add(last ? piece : `${piece}\n`);
    });
  }

  /** The blocks as they are now; a new array with each call, of unchanged blocks where nothing changed. */
  snapshot(): Block[] {
    return [...this.blocks];
  }

  private add(piece: string): void {
    let block = this.blocks.at(-1);
    if (!block || this.lines >= linesPerBlock) {
      block = { key: this.nextKey++, text: '' };
      this.blocks.push(block);
      this.lines = 0;
      if (this.blocks.length > this.maxBlocks) {
        this.blocks.shift();
        this.truncated = true;
      }
    }
    this.blocks[this.blocks.length - 1] = { key: block.key, text: block.text + piece };
    if (piece.endsWith('\n')) {
      this.lines++;
    }
  }
}
