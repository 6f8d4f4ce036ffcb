/** The next step. The rules, in order; membership.mjs tells what each is for. */
import { follow, forget, introduce, lost, open, strangers } from './identity-rules.mjs';
import { agree, balance, freeSlots, masters, openSlots, replicas } from './slot-rules.mjs';
import { survey } from './survey.mjs';

/** @type {import('./rule.mjs').Rule[]} */
const RULES = [
  introduce,
  strangers,
  lost,
  forget,
  open,
  follow,
  agree,
  openSlots,
  masters,
  replicas,
  freeSlots,
  balance,
];

/**
 * The next step: {rule, actions} or {rule, waiting}, or {} when all is as wanted.
 * @param {import('./rule.mjs').Config} config
 * @param {import('./nodes.mjs').Seen[]} seen
 * @param {import('./rule.mjs').Since} since
 * @returns {import('./rule.mjs').Verdict & { rule?: string }}
 */
export function plan(config, seen, since) {
  const world = survey(config, seen);
  if (!world.wanted.length)
    return {
      rule: 'look',
      waiting: `any of ${config.pods} pods to answer: ${[...new Set(world.absent.map(({ absent }) => absent))]}`,
    };
  let unknown;
  for (const rule of RULES) {
    const { others, ...step } = rule(config, world, since) ?? {};
    if (others) unknown = { rule: rule.name, ...step };
    else if (step.actions || step.waiting) return unknown && !step.actions ? unknown : { rule: rule.name, ...step };
  }
  if (unknown) return unknown;
  const held = ({ host }) => world.identities.find((one) => one.host === host && one.size)?.size;
  const absence = (pod) => `${pod.host} (${pod.absent})${held(pod) ? `, whose ${held(pod)} slots nobody serves` : ''}`;
  return world.absent.length ? { rule: 'look', waiting: world.absent.map(absence).join(', ') } : {};
}
