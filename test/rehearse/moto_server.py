"""moto's server, with its CloudFormation amended until a deployment can be rehearsed on it.

Each amendment makes moto do what AWS does; docs/operations/rehearsal.md lists them. Run with the
arguments of moto's own server, and written for moto 5.
"""

import copy
import json
import logging

from moto.awslambda.models import LambdaBackend
from moto.cloudformation import models, parsing
from moto.cloudwatch.models import cloudwatch_backends
from moto.dynamodb.models import dynamodb_backends
from moto.dynamodb.models.table import Table
from moto.server import main

logging.getLogger("werkzeug").setLevel(logging.ERROR)
logging.getLogger("moto").setLevel(logging.ERROR)


class Declared:
    """A resource whose type moto's CloudFormation cannot make: kept as declared, and nothing more."""

    def __init__(self, name, properties, region):
        self.name = name
        self.properties = properties
        self.region = region

    @property
    def physical_resource_id(self):
        return self.name

    @classmethod
    def has_cfn_attr(cls, attr):
        return True

    def get_cfn_attribute(self, attribute_name):
        if attribute_name == "ApiEndpoint":
            return f"https://{self.name}.execute-api.{self.region}.amazonaws.com"
        return f"{self.name}.{attribute_name}"

    def is_created(self):
        return True

    @classmethod
    def create_from_cloudformation_json(cls, resource_name, cloudformation_json, account_id, region_name, **_):
        return cls(resource_name, cloudformation_json["Properties"], region_name)

    @classmethod
    def update_from_cloudformation_json(
        cls, original_resource, new_resource_name, cloudformation_json, account_id, region_name
    ):
        original_resource.properties = cloudformation_json["Properties"]
        return original_resource

    @classmethod
    def delete_from_cloudformation_json(cls, resource_name, cloudformation_json, account_id, region_name):
        pass


class Alarm(Declared):
    """An alarm of moto's CloudWatch, which its CloudFormation does not make. Its state is set by hand."""

    @property
    def physical_resource_id(self):
        return self.properties["AlarmName"]

    @classmethod
    def create_from_cloudformation_json(cls, resource_name, cloudformation_json, account_id, region_name, **_):
        made = super().create_from_cloudformation_json(resource_name, cloudformation_json, account_id, region_name)
        p = made.properties
        cloudwatch_backends[account_id][region_name].put_metric_alarm(
            name=p["AlarmName"],
            namespace=p.get("Namespace"),
            metric_name=p.get("MetricName"),
            comparison_operator=p["ComparisonOperator"],
            evaluation_periods=p["EvaluationPeriods"],
            period=p.get("Period"),
            threshold=p.get("Threshold"),
            statistic=p.get("Statistic"),
            description=p.get("AlarmDescription"),
            dimensions=p.get("Dimensions", []),
            alarm_actions=p.get("AlarmActions", []),
            ok_actions=p.get("OKActions", []),
            insufficient_data_actions=p.get("InsufficientDataActions", []),
        )
        return made

    @classmethod
    def delete_from_cloudformation_json(cls, resource_name, cloudformation_json, account_id, region_name):
        cloudwatch_backends[account_id][region_name].delete_alarms([resource_name])


def class_of(resource_type):
    """Types that moto cannot make are declared; custom resources would start a container."""
    return {"AWS::CloudWatch::Alarm": Alarm}.get(resource_type) or parsing.get_model_map().get(
        resource_type, Declared
    )


parsing.resource_class_from_type = class_of

update_resource = parsing.parse_and_update_resource


def parse_and_update_resource(logical_id, resource_json, resources_map, account_id, region_name):
    """A type that moto cannot update in place stays what it is, instead of being forgotten."""
    kept = resources_map[logical_id]
    updated = update_resource(logical_id, resource_json, resources_map, account_id, region_name)
    return kept if updated is None else updated


parsing.parse_and_update_resource = parse_and_update_resource


delete_resources = parsing.ResourceMap.delete


def delete(self):
    """`RetainExceptOnCreate` keeps a resource of a stack that stands, as `Retain` does."""
    resources = copy.deepcopy(self._resource_json_map)
    for resource in resources.values():
        if resource.get("DeletionPolicy") == "RetainExceptOnCreate":
            resource["DeletionPolicy"] = "Retain"
    self._resource_json_map = resources
    delete_resources(self)


parsing.ResourceMap.delete = delete


create_table = Table.create_from_cloudformation_json.__func__


def create_table_as_declared(cls, resource_name, cloudformation_json, account_id, region_name, **kwargs):
    """A table's time to live and point-in-time recovery are part of its declaration."""
    table = create_table(cls, resource_name, cloudformation_json, account_id, region_name, **kwargs)
    properties = cloudformation_json["Properties"]
    backend = dynamodb_backends[account_id][region_name]
    if "TimeToLiveSpecification" in properties:
        backend.update_time_to_live(table.name, properties["TimeToLiveSpecification"])
    if "PointInTimeRecoverySpecification" in properties:
        backend.update_continuous_backups(table.name, properties["PointInTimeRecoverySpecification"])
    return table


Table.create_from_cloudformation_json = classmethod(create_table_as_declared)


def mappings_of(self, event_source_arn, function_name):
    """A function's mappings are found by its name, however they name it."""
    return [
        mapping
        for mapping in self._event_source_mappings.values()
        if event_source_arn in (None, mapping.event_source_arn)
        and function_name in (None, mapping.function_name, mapping.function_arn.split(":")[6])
    ]


LambdaBackend.list_event_source_mappings = mappings_of
# Its own deliveries start containers; the rehearsal runs the functions (functions.ts).
LambdaBackend.send_sqs_batch = lambda *_: False
LambdaBackend.send_dynamodb_items = lambda *_: None


Backend = models.CloudFormationBackend
create_change_set = Backend.create_change_set
execute_change_set = Backend.execute_change_set
validate_template = Backend.validate_template
delete_change_set = Backend.delete_change_set
delete_stack = Backend.delete_stack


def create(self, *args, **kwargs):
    """A stack that begins as a change set imports what other stacks export."""
    change_set_id, stack_id = create_change_set(self, *args, **kwargs)
    stack = self.stacks[stack_id]
    stack.cross_stack_resources = self.exports
    stack.resource_map.cross_stack_resources = self.exports
    return change_set_id, stack_id


def execute(self, change_set_name, stack_name=None):
    """A change set's outputs and exports are there once it is executed; what fails says why."""
    change_set = self.describe_change_set(change_set_name)
    stack = self.stacks[change_set.stack_id]
    before = set(self.exports)
    mine = {export.name for export in stack.exports} & before
    try:
        execute_change_set(self, change_set_name, stack_name)
    except Exception as error:  # whatever another service of moto says, as CloudFormation would say it
        message = getattr(error, "message", None) or str(error)
        raise models.ValidationError(stack.stack_id, message=f"{stack.name}: {message}") from error
    stack.parameters = change_set.parameters
    stack._parse_template()
    stack.output_map = stack._create_output_map()
    taken = {export.name for export in stack.exports} & (before - mine)
    if taken:
        raise models.ValidationError(stack.stack_id, message=f"Exported by another stack: {sorted(taken)}")
    for name in mine:
        self.exports.pop(name)
    for export in stack.exports:
        self.exports[export.name] = export


def delete_changes(self, change_set_name):
    """A change set that is not there is as good as deleted."""
    names = [change_set.change_set_name for change_set in self.change_sets.values()]
    if change_set_name in self.change_sets or change_set_name in names:
        delete_change_set(self, change_set_name)


def imports(value):
    """The names that a template imports, where they are written out."""
    if isinstance(value, dict):
        name = value.get("Fn::ImportValue")
        return ({name} if isinstance(name, str) else set()).union(*map(imports, value.values()))
    return set().union(*map(imports, value)) if isinstance(value, list) else set()


def remove(self, name_or_stack_id):
    """A stack whose exports another one imports is not deleted."""
    for stack in list(self.stacks.values()):
        if name_or_stack_id not in (stack.stack_id, stack.name):
            continue
        exported = {export.name for export in stack.exports}
        for other in self.stacks.values():
            if other is not stack and exported & imports(other.template_dict):
                raise models.ValidationError(
                    stack.stack_id, message=f"{stack.name} exports what {other.name} imports"
                )
    delete_stack(self, name_or_stack_id)


def validate(self, template):
    """AWS's validation knows no warnings."""
    return [match for match in validate_template(self, template) if match.rule.severity == "error"]


Backend.create_change_set = create
Backend.execute_change_set = execute
Backend.delete_change_set = delete_changes
Backend.validate_template = validate
Backend.delete_stack = remove


if __name__ == "__main__":
    # What is made and what is only declared: the rehearsal's report says it.
    made = {*parsing.get_model_map(), "AWS::CloudWatch::Alarm"}
    print(json.dumps(sorted(t for t in made if t.startswith("AWS::"))), flush=True)
    main()
