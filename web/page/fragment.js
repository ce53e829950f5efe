/* The part of the address after #: settings and a scheduler as base64url of JSON. Nothing in it runs by itself. */
import { LONGEST_CODE, SettingsError, checkedSettings } from "./options.js";
/** @import { Settings } from "./options.js" */

const MARK = "#race=";
/** Characters of a fragment: more than the longest scheduler needs, 4 for 3 bytes and up to 6 bytes a character (`\u0000`). */
const LONGEST = 8 * LONGEST_CODE + 2_000;

/** @param {Settings} settings */
export function fragmentOf(settings) {
  const bytes = new TextEncoder().encode(JSON.stringify(settings));
  const signs = Array.from(bytes, (byte) => String.fromCharCode(byte)).join("");
  return MARK + btoa(signs).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
}

/** The settings of a fragment; null if it is none of ours. Throws a SettingsError. @param {string} fragment @returns {Settings | null} */
export function settingsOf(fragment) {
  if (!fragment.startsWith(MARK)) return null;
  if (fragment.length > LONGEST) throw new SettingsError("bad_link");
  let given;
  try {
    const signs = atob(fragment.slice(MARK.length).replace(/-/g, "+").replace(/_/g, "/"));
    given = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(Uint8Array.from(signs, (sign) => sign.charCodeAt(0))));
  } catch {
    throw new SettingsError("bad_link");
  }
  return checkedSettings(given);
}
