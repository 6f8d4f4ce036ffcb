/** Archives that a rule keeps: the newest of so many days, ISO weeks and months (UTC), as in config/retention.py. */

const DAY_MS = 86_400_000;

/** @param {Date} date */
function isoWeek(date) {
  const thursday = new Date(date.getTime() + (4 - (date.getUTCDay() || 7)) * DAY_MS);
  const year = thursday.getUTCFullYear();
  return `${year}-${Math.floor((thursday.getTime() - Date.UTC(year, 0, 1)) / DAY_MS / 7)}`;
}

/** @type {Record<string, (date: Date) => string>} */
const PERIODS = {
  daily: (date) => date.toISOString().slice(0, 10),
  weekly: isoWeek,
  monthly: (date) => date.toISOString().slice(0, 7),
};

/**
 * When an archive of a stack was made, by its name; undefined for what is not called like one.
 * @param {string} stack
 * @param {string} name
 */
function made(stack, name) {
  const rest = name.startsWith(`${stack}-`) ? name.slice(stack.length + 1) : '';
  const found = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/.exec(rest);
  if (!found) return undefined;
  const iso = `${found[1]}-${found[2]}-${found[3]}T${found[4]}:${found[5]}:${found[6]}.000Z`;
  const date = new Date(iso);
  return !Number.isNaN(date.getTime()) && date.toISOString() === iso ? date : undefined;
}

/**
 * The archives among some names that no part of the rule keeps, oldest first. The newest stays, whatever the rule says,
 * and so does what is not called like an archive of this stack.
 * @param {string} stack
 * @param {string[]} names
 * @param {Record<string, number>} rule
 */
export function superfluous(stack, names, rule) {
  const dated = names.flatMap((name) => {
    const date = made(stack, name);
    return date ? [{ name, date }] : [];
  });
  const newestFirst = dated.sort((one, other) => other.date.getTime() - one.date.getTime());
  const kept = new Set(newestFirst.slice(0, 1).map(({ name }) => name));
  for (const [period, form] of Object.entries(PERIODS)) {
    /** @type {Map<string, string>} */
    const newest = new Map();
    for (const { name, date } of newestFirst) if (!newest.has(form(date))) newest.set(form(date), name);
    for (const name of [...newest.values()].slice(0, rule[period] ?? 0)) kept.add(name);
  }
  return newestFirst
    .map(({ name }) => name)
    .filter((name) => !kept.has(name))
    .reverse();
}
