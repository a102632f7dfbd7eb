/**
 * What the page shows, as one object, which is kept in the address.
 *
 *   state.get()                    the values, by the names in FIELDS; never change what it returns
 *   state.set({ layer: "c3" })     change some; the others stay. In the address it replaces what was there
 *   state.set(patch, { push: true })   the same as a step that the browser's back takes back
 *   state.watch((values, changed) => …)   called after each change; `changed` is the Set of names
 *   state.anchor()                 the id before the "?": the section or claim to be at, or ""
 *
 * The address ends with #anchor?name=value&name=value. What is before the "?" is an anchor like any
 * other; links on the page are plain anchors (#claim-pooling) and leave the state as it is. A value that
 * is its default is not written. Back and forward restore the names in PLACE, where the reader looks, and
 * keep what was drawn and set: back from a zoom does not take back a stroke.
 */
const state = (() => {
  const within = (least, largest) => (value) => value >= least && value <= largest; // never of NaN
  const whole = (least, largest) => (value) => Number.isInteger(value) && within(least, largest)(value);

  /** What each slider of "Break it", and the corner of its patch, can be set to. */
  const SETTINGS = {
    noise: within(0, 0.6),
    blur: within(0, 2),
    inversion: within(0, 1),
    occlusion: whole(0, 10),
    top: whole(0, 28),
    left: whole(0, 28),
    right: whole(-6, 6),
    down: whole(-6, 6),
    rotation: within(-45, 45),
    scale: within(-0.5, 0.5),
  };

  const index = { read: Number, write: String, valid: whole(0, Infinity) };
  const text = { read: String, write: String, valid: Boolean };
  const flag = { read: (value) => value === "1", write: (value) => (value ? "1" : "0"), valid: () => true };
  const texts = { read: (value) => value.split(","), write: (value) => value.join(","), valid: () => true };
  const numbers = {
    read: (value) => Object.fromEntries(value.split(",").map((each) => each.split(":")).map(([k, v]) => [k, Number(v)])),
    write: (value) => Object.entries(value).map((pair) => pair.join(":")).join(","),
    valid: (value) => Object.entries(value).every(([name, each]) => Object.hasOwn(SETTINGS, name) && SETTINGS[name](each)),
  };
  const pair = {
    read: (value) => value.split(",").map(Number),
    write: (value) => value.join(","),
    valid: (value) => value.length === 2 && value.every(Number.isInteger),
  };
  const strokes = { read: ink.decode, write: ink.encode, valid: Boolean };

  const FIELDS = {
    image: { ...index, initial: null }, // index of the test image on the sheet
    picture: { ...text, initial: "" }, // 28×28 pixels of the reader's own picture, as base64url
    strokes: { ...strokes, initial: [] }, // [{points: [{x, y, pressure}], width}], units of the sheet's side
    preprocess: { ...flag, initial: null }, // whether strokes are preprocessed as MNIST was; null: as the page begins
    network: { ...text, initial: "" }, // name of the one that is drawn; "": the first
    layer: { ...text, initial: "" }, // name of the layer that is looked into; "": all
    map: { ...index, initial: null }, // its map or neuron; null: all
    pixel: { ...pair, initial: null }, // [row, column] of that map; null: none is pinned
    ink: { ...flag, initial: false }, // whether the first layer's sums start from the image's ink, 0 to 1
    term: { ...pair, initial: null }, // [input map, entry of the kernel], one multiplication
    silenced: { ...texts, initial: [] }, // maps set to zero, each as network.layer.map: "lenet5.c1_act.3"
    distortion: { ...numbers, initial: {} }, // name of a slider: its value
    ownStatistics: { ...flag, initial: false }, // whether "Break it" normalises by the image's own statistics
    present: { ...flag, initial: false }, // whether the page is shown by a projector
  };
  const PLACE = ["network", "layer", "map", "pixel", "term", "present"];
  const OURS = { cnnpipe: true }; // marks the entries of the history that this module wrote
  const PAUSE = 250; // milliseconds; browsers refuse addresses that change faster for long

  const anchor = () => location.hash.slice(1).split("?")[0];
  const query = () => location.hash.split("?")[1];

  /** @type {any} */
  const initial = Object.fromEntries(Object.entries(FIELDS).map(([name, field]) => [name, field.initial]));
  const listeners = [];
  /** @type {State} */
  let values = { ...initial, ...addressed() };
  let waiting = 0; // the timer after which the address is written

  /** What the address says; what is no value of its field is left out. */
  function addressed() {
    const found = {};
    for (const [name, written] of new URLSearchParams(query())) {
      if (!Object.hasOwn(FIELDS, name)) continue;
      const value = FIELDS[name].read(written);
      if (FIELDS[name].valid(value)) found[name] = value;
    }
    return found;
  }

  function address() {
    const parts = Object.entries(FIELDS)
      .filter(([name, { write }]) => values[name] !== initial[name] && written(name, write))
      .map(([name, { write }]) => `${name}=${written(name, write)}`);
    return `#${anchor()}${parts.length ? `?${parts.join("&")}` : ""}`;
  }

  /** A value as it stands in the address, where "," and ":" may stand as they are. */
  const written = (name, write) => encodeURIComponent(write(values[name])).replaceAll("%2C", ",").replaceAll("%3A", ":");

  function save() {
    clearTimeout(waiting);
    waiting = 0;
    if (address() !== (location.hash || "#")) history.replaceState(OURS, "", address());
  }

  /** @param {Partial<State>} patch */
  function set(patch, { push = false } = {}) {
    if (push) {
      save(); // the entry that is left keeps what it showed
      history.replaceState(OURS, "", address()); // and is ours, even if the browser made it
    }
    if (!take(patch)) return;
    if (push) history.pushState(OURS, "", address());
    else waiting ||= setTimeout(save, PAUSE);
  }

  /** Change values and tell; returns whether any is another one now. */
  function take(patch) {
    const changed = new Set(Object.keys(patch).filter((name) => !same(name, patch[name])));
    for (const name of changed) if (!FIELDS[name]) throw new Error(`state: no field ${name}`);
    if (!changed.size) return false;
    values = { ...values, ...patch };
    for (const listener of listeners) listener(values, changed);
    return true;
  }

  function same(name, value) {
    return value === values[name] || (Boolean(value && values[name]) && FIELDS[name].write(value) === FIELDS[name].write(values[name]));
  }

  window.addEventListener("popstate", (event) => {
    const found = { ...initial, ...addressed() };
    if (event.state?.cnnpipe) take(Object.fromEntries(PLACE.map((name) => [name, found[name]])));
    else if (query() !== undefined) take(found); // an address that was typed or pasted
    save();
  });
  window.addEventListener("pagehide", save);

  return { anchor, get: () => values, set, watch: (listener) => listeners.push(listener) };
})();
