/** Point at a neuron of a layer and see which pixels of the image it depends on. */
const fields = (() => {
  const SIDE = 28; // pixels of an image
  const ZOOM = 10;

  /** `pixels`: the bytes of the image, row by row. */
  function attach(root, pixels) {
    const layer = root.querySelector("select");
    const [map, image] = root.querySelectorAll("canvas");
    const status = root.querySelector("[role=status]");
    let place = { y: 0, x: 0 };

    const chosen = () => {
      const [size, seen, jump, start] = layer.value.split(",").map(Number);
      return { size, seen, jump, start };
    };

    function paint() {
      const { size, seen, jump, start } = chosen();
      draw(map, size, () => 0);
      outline(map, place, 1, map.width / size);
      draw(image, SIDE, (at) => pixels[at]);
      const corner = { y: start + place.y * jump, x: start + place.x * jump };
      outline(image, corner, seen, ZOOM);
      const [rows, columns] = [corner.y, corner.x].map((first) => `${Math.max(first, 0)}–${Math.min(first + seen, SIDE) - 1}`);
      status.textContent = `The neuron in row ${place.y}, column ${place.x} sees rows ${rows}, columns ${columns}.`;
    }

    plane.choose(map, {
      size: () => ({ height: chosen().size, width: chosen().size }),
      place: () => place,
      move(pixel) {
        place = pixel;
        paint();
      },
    });
    layer.addEventListener("change", () => {
      const middle = Math.floor(chosen().size / 2);
      place = { y: middle, x: middle };
      paint();
    });
    layer.dispatchEvent(new Event("change"));
  }

  /** Grey values as dark ink on white, with the lines between the pixels. */
  function draw(canvas, size, value) {
    const zoom = Math.max(1, Math.floor((SIDE * ZOOM) / size));
    canvas.width = canvas.height = size * zoom;
    const context = canvas.getContext("2d");
    for (let at = 0; at < size * size; at += 1) {
      const grey = 255 - value(at);
      context.fillStyle = `rgb(${grey} ${grey} ${grey})`;
      context.fillRect((at % size) * zoom, Math.floor(at / size) * zoom, zoom, zoom);
    }
    context.strokeStyle = "#d9dee4";
    for (let k = 0; k <= size; k += 1) {
      context.strokeRect(k * zoom, 0, 0, size * zoom);
      context.strokeRect(0, k * zoom, size * zoom, 0);
    }
  }

  function outline(canvas, { y, x }, size, zoom) {
    const context = canvas.getContext("2d");
    context.fillStyle = "rgb(26 99 165 / 25%)";
    context.strokeStyle = "#1a63a5";
    context.lineWidth = 3;
    context.fillRect(x * zoom, y * zoom, size * zoom, size * zoom);
    context.strokeRect(x * zoom, y * zoom, size * zoom, size * zoom);
  }

  return { attach };
})();
