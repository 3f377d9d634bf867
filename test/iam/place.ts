/** Where the packaged policies are resolved: the ARNs of a region's resources begin with these. */
export const PLACE = { region: "us-east-1", accountId: "000000000000" } as const;
export type Place = { readonly region: string; readonly accountId: string };

/** The targets of the local cloud's stage file: a run's own ones go in their places. */
export const TARGETS = { networkAcl: "acl-00000000", ipSets: "local" } as const;

/** What the stage calls its list of blocks. */
export const LIST = "portcullis-local";
