// A face as its landmarks: outline of the 68 iBUG points, and boxes round its parts for orientation.

// first and last point, and whether the line is closed
const LINES = [[0, 16, false], [17, 21, false], [22, 26, false], [27, 30, false], [31, 35, false],
  [36, 41, true], [42, 47, true], [48, 59, true], [60, 67, true]];
// parts as an observer names them; each is the hull box of its points, widened by a share of the eye distance
export const REGIONS = { "brow r": [17, 21], "brow l": [22, 26], "eye r": [36, 41], "eye l": [42, 47], nose: [27, 35], mouth: [48, 67] };
const MARGIN = 0.12;

export function outline(pen, points, scale, colour) {
  pen.strokeStyle = colour;
  pen.lineWidth = 1.4;
  for (const [first, last, closed] of LINES) {
    pen.beginPath();
    for (let at = first; at <= last; at += 1) pen.lineTo(points[at][0] * scale, points[at][1] * scale);
    if (closed) pen.closePath();
    pen.stroke();
  }
}

export function regions(points) {
  const mean = (first, last, axis) => {
    let sum = 0;
    for (let at = first; at <= last; at += 1) sum += points[at][axis];
    return sum / (last - first + 1);
  };
  const margin = MARGIN * Math.hypot(mean(42, 47, 0) - mean(36, 41, 0), mean(42, 47, 1) - mean(36, 41, 1));
  return Object.entries(REGIONS).map(([name, [first, last]]) => {
    const part = points.slice(first, last + 1), xs = part.map((p) => p[0]), ys = part.map((p) => p[1]);
    const x = Math.min(...xs) - margin, y = Math.min(...ys) - margin;
    return { name, x, y, w: Math.max(...xs) + margin - x, h: Math.max(...ys) + margin - y };
  });
}

// dashed boxes round the parts
export function overlay(pen, points, scale, colour) {
  pen.save();
  pen.strokeStyle = colour;
  pen.lineWidth = 1;
  pen.setLineDash([4, 3]);
  for (const { x, y, w, h } of regions(points)) pen.strokeRect(x * scale, y * scale, w * scale, h * scale);
  pen.restore();
}
