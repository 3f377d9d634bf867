import { randomUUID } from "node:crypto";
import { invalidParameter } from "./errors.ts";
import {
  createIpSet,
  deleteIpSet,
  findByArn,
  findIpSet,
  type IpSet,
  type IpSetKey,
  type Scope,
  tagIpSet,
  updateIpSet,
  type WafState,
} from "./ipSets.ts";
import { parse, requests } from "./requests.ts";

/** What an action does: its answer and, if it is a mutation, the state after it. */
export type Outcome = { readonly answer: object; readonly state?: WafState };

type Action = (body: unknown, state: WafState, region: string) => Outcome;

const ACCOUNT_ID = "123456789012";
/** The page size of a list request that has no limit. */
const PAGE = 100;

/** Each action reads its request, makes one call, shapes the answer. */
const actions: Readonly<Record<string, Action>> = {
  CreateIPSet(body, before, region) {
    const request = parse(requests.CreateIPSet, body);
    checkScope(request.Scope, region);
    const id = randomUUID();
    const { state, set } = createIpSet(before, {
      name: request.Name,
      id,
      arn: arnOf(request.Name, id, request.Scope, region),
      scope: request.Scope,
      version: request.IPAddressVersion,
      description: request.Description ?? "",
      addresses: request.Addresses,
      lockToken: randomUUID(),
      tags: request.Tags ?? [],
    });
    return { state, answer: { Summary: summary(set) } };
  },

  GetIPSet(body, state, region) {
    const request = parse(requests.GetIPSet, body);
    checkScope(request.Scope, region);
    const set = findIpSet(state, keyOf(request));
    return {
      answer: {
        IPSet: {
          Name: set.name,
          Id: set.id,
          ARN: set.arn,
          Description: set.description,
          IPAddressVersion: set.version,
          Addresses: set.addresses,
        },
        LockToken: set.lockToken,
      },
    };
  },

  UpdateIPSet(body, state, region) {
    const request = parse(requests.UpdateIPSet, body);
    checkScope(request.Scope, region);
    const lockToken = randomUUID();
    const next = {
      description: request.Description ?? "",
      addresses: request.Addresses,
      lockToken,
    };
    return {
      state: updateIpSet(state, keyOf(request), request.LockToken, next),
      answer: { NextLockToken: lockToken },
    };
  },

  DeleteIPSet(body, state, region) {
    const request = parse(requests.DeleteIPSet, body);
    checkScope(request.Scope, region);
    return { state: deleteIpSet(state, keyOf(request), request.LockToken), answer: {} };
  },

  /**
   * The marker is the last name of the page, and every page but an empty one has it, the last one
   * included (AWS CLI examples: wafv2 list-ip-sets): whoever lists goes on until it is missing.
   */
  ListIPSets(body, state, region) {
    const { Scope, NextMarker = "", Limit = PAGE } = parse(requests.ListIPSets, body);
    checkScope(Scope, region);
    const sets = state.ipSets
      .filter(({ scope, name }) => scope === Scope && name > NextMarker)
      .sort((a, b) => (a.name < b.name ? -1 : 1))
      .slice(0, Limit);
    return { answer: { IPSets: sets.map(summary), NextMarker: sets.at(-1)?.name } };
  },

  TagResource(body, state) {
    const { ResourceARN, Tags } = parse(requests.TagResource, body);
    return { state: tagIpSet(state, ResourceARN, Tags), answer: {} };
  },

  ListTagsForResource(body, state) {
    const { ResourceARN } = parse(requests.ListTagsForResource, body);
    const { tags } = findByArn(state, ResourceARN);
    return { answer: { TagInfoForResource: { ResourceARN, TagList: tags } } };
  },
};

/** The action with this name, if the emulator has it. */
export function findAction(name: string): Action | undefined {
  return Object.hasOwn(actions, name) ? actions[name] : undefined;
}

/** CloudFront's sets live in us-east-1 (API reference: CreateIPSet, Scope). */
function checkScope(scope: Scope, region: string): void {
  if (scope === "REGIONAL" || region === "us-east-1") return;
  throw invalidParameter("SCOPE_VALUE", scope, "The scope is not valid.");
}

function keyOf(request: { Name: string; Id: string; Scope: Scope }): IpSetKey {
  return { name: request.Name, id: request.Id, scope: request.Scope };
}

function arnOf(name: string, id: string, scope: Scope, region: string): string {
  const place = scope === "REGIONAL" ? "regional" : "global";
  return `arn:aws:wafv2:${region}:${ACCOUNT_ID}:${place}/ipset/${name}/${id}`;
}

function summary(set: IpSet) {
  return {
    Name: set.name,
    Id: set.id,
    Description: set.description,
    LockToken: set.lockToken,
    ARN: set.arn,
  };
}
