const names = (list) => list.split(",").flatMap((name) => name.trim() || []);

const arn = (service, resource) => ({
  "Fn::Sub": `arn:\${AWS::Partition}:${service}:\${AWS::Region}:\${AWS::AccountId}:${resource}`,
});

/** What the enforcer may change: the configured targets and nothing else. */
module.exports.arns = async ({ resolveVariable }) => {
  const acls = names(await resolveVariable("param:acl_id, env:ACL_ID, ''"));
  const sets = names(await resolveVariable("param:wafIpSets, env:WAF_IP_SETS, ''"));
  return {
    networkAcls: (acls.length > 0 ? acls : ["none"]).map((id) => arn("ec2", `network-acl/${id}`)),
    ipSets: (sets.length > 0 ? sets : ["none"]).flatMap((name) =>
      [4, 6].map((family) => arn("wafv2", `regional/ipset/${name}-v${family}/*`)),
    ),
  };
};
