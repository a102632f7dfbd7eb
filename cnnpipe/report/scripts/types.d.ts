/** What the page's scripts hand to each other. Only `make check` reads this file: the page does not have it. */

/** What goes from layer to layer: map c has its pixel in row y, column x at (c · height + y) · width + x. */
interface Maps {
  channels: number;
  height: number;
  width: number;
  values: Float32Array;
}

interface Tensor {
  shape: number[];
  values: Float32Array;
}

/** A layer with what its kind has of these. */
interface Layer {
  name: string;
  kind: string;
  weight: Tensor;
  bias?: Tensor;
  stride?: number;
  padding?: number;
  dilation?: number;
  kernel_size: number;
  [more: string]: any;
}

interface Model {
  name: string;
  title: string;
  layers: Layer[];
  normalization: { mean: number; std: number };
  [more: string]: any;
}

/** What a network made of an image. */
interface Result {
  input: Maps;
  outputs: Maps[];
  logits: Float32Array;
  probabilities: Float64Array;
  prediction: number;
  silenced: string[];
  milliseconds: number;
}

/** A pixel of a map, or a window of pixels by its upper left corner. */
interface Place {
  y: number;
  x: number;
  height?: number;
  width?: number;
}

/** Lengths in units of the sheet's side; pressure from 0 to 1. */
interface Stroke {
  points: { x: number; y: number; pressure: number }[];
  width: number;
}

/** What is kept in the address; state.js says what each means. */
interface State {
  image: number | null;
  picture: string;
  strokes: Stroke[];
  preprocess: boolean | null;
  network: string;
  layer: string;
  map: number | null;
  pixel: number[] | null;
  ink: boolean;
  term: number[] | null;
  silenced: string[];
  distortion: Record<string, number>;
  ownStatistics: boolean;
  present: boolean;
}

// Whether the page has an element that a script looks for, and of which kind, is seen when it runs.
interface ParentNode {
  querySelector(selectors: string): any;
  querySelectorAll(selectors: string): NodeListOf<any>;
}

interface Document {
  getElementById(id: string): any;
}

interface Window {
  cnnpipe: object;
}

interface HTMLCanvasElement {
  getContext(kind: "2d"): CanvasRenderingContext2D;
}
