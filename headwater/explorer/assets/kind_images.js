// Images: tiles of sheets.
import { el } from "headwater/dom";
import { picture } from "headwater/files";

const SIZES = { small: 36, card: 84, large: 168 };

/** Read the sheets. */
export async function load(content) {
  const sheets = content.sheets.map((sheet) => ({ ...sheet, url: picture(sheet.file, sheet.type) }));
  return {
    hasSmall: true,
    text: () => "",
    /** Make a tile; name is what a screen reader says. */
    show(place, size, name) {
      const scale = SIZES[size] / Math.max(content.width, content.height);
      const sheet = sheets[Math.floor(place / content.tiles)];
      const local = place % content.tiles;
      const [column, row] = [local % content.across, Math.floor(local / content.across)];
      const [width, height] = [content.width * scale, content.height * scale];
      return el("span", {
        class: "tile", role: "img", "aria-label": name,
        style: {
          width: `${width}px`, height: `${height}px`,
          "background-image": `url(${sheet.url})`,
          "background-size": `${content.across * width}px ${sheet.rows * height}px`,
          "background-position": `${-column * width}px ${-row * height}px`,
        },
      });
    },
  };
}
