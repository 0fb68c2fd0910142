# What a root template says of its parameters, and why given ones cannot be deployed. Read by parameters.sh.
#
# The template is the one source: its constraints and rules are taken from its text (which keeps to the forms read here;
# tests/cfn/test_parameters.py compares both with what a YAML parser and an evaluator of templates make of it).

# ---------- the text of the template ----------
def plain: if test("^'.*'$") then .[1:-1] | gsub("''"; "'") else . end;

# section NAME: the lines of a section.
def section($name): . as $lines
    | ($lines | index($name + ":")) as $from
    | $lines[$from + 1:] | .[: ([.[] | test("^[A-Z]")] | index(true)) // length];

# {NAME: {Type, Default, ...}}, from blocks and from {in one line}.
def specification:
    reduce (split("\n") | section("Parameters"))[] as $line ({name: "", all: {}};
        if ($line | test("^  [A-Za-z0-9]+: *$")) then .name = $line[2:] | .name |= rtrimstr(":") | .all[.name] = {}
        elif ($line | test("^  [A-Za-z0-9]+: \\{")) then
            .all[$line | capture("^  (?<n>[A-Za-z0-9]+)").n] = ([$line | match("[{,] (Type|Default|MinValue|MaxValue): *([^,}]*)"; "g") | {(.captures[0].string): (.captures[1].string | sub(" +$"; "") | plain)}] | add)
        elif ($line | test("^    (Type|Default|MinValue|MaxValue|AllowedPattern|AllowedValues|ConstraintDescription): ")) then
            ($line | capture("^    (?<key>[A-Za-z]+): *(?<value>.*)$")) as $found
            | .all[.name][$found.key] = (if $found.key == "AllowedValues" then [$found.value[1:-1] | match("'[^']*'|[^, ]+"; "g").string | plain] else $found.value | plain end)
        else . end) | .all;

# !And [!Not [!Equals [!Ref X, '']], ...] as ["And", ["Not", ["Equals", ["Ref", "X"], ""]], ...].
def as_json:
    gsub("!Ref (?<n>[A-Za-z0-9]+)"; "[\"Ref\", \"\(.n)\"]") | gsub("'(?<t>[^']*)'"; "\"\(.t)\"") | gsub("!(?<n>[A-Za-z]+) \\["; "[\"\(.n)\", ")
    | gsub("(?<a>[\\[,] ?)(?<w>[A-Za-z][A-Za-z0-9.-]*)(?=[\\],])"; "\(.a)\"\(.w)\"") | fromjson;

# [{when, assert, say}] of the section Rules.
def rules:
    reduce (split("\n") | section("Rules"))[] as $line ({when: null, all: []};
        if ($line | test("^  [A-Za-z0-9]+:")) then .when = null
        elif ($line | test("^    RuleCondition: ")) then .when = ($line | sub("^ *RuleCondition: "; "") | as_json)
        elif ($line | test("^      - Assert: ")) then .all += [{when, assert: ($line | sub("^ *- Assert: "; "") | as_json)}]
        elif ($line | test("^        AssertDescription: ")) then .all[-1].say = ($line | sub("^ *AssertDescription: "; "") | plain)
        else . end) | .all;

# ---------- networks ----------
def is_address: test("^[0-9]{1,3}([.][0-9]{1,3}){3}$") and all(split(".")[]; tonumber < 256);
def is_cidr: test("^[^/]+/[0-9]{1,2}$") and (split("/") | (.[0] | is_address) and (.[1] | tonumber) <= 32);
def number: split(".") | map(tonumber) | ((.[0] * 256 + .[1]) * 256 + .[2]) * 256 + .[3];
def two_to($n): reduce range($n) as $i (1; . * 2);
def span: split("/") as [$address, $bits] | two_to(32 - ($bits // "32" | tonumber)) as $size
    | {name: ., size: $size, first: ((($address | number) / $size | floor) * $size)} | .last = .first + .size - 1;
def holds($inner): .first <= $inner.first and .last >= $inner.last;
def overlaps($other): .first <= $other.last and $other.first <= .last;
def dotted: [16777216, 65536, 256, 1] as $units | . as $n | $units | map($n / . | floor | . % 256 | tostring) | join(".");
# Of CIDRs, those that no other one holds.
def united: reduce .[] as $net ([]; if any(.[]; span | holds($net | span)) then . else [.[] | span | select(. as $old | $net | span | holds($old) | not) | .name] + [$net] end);
# The nth part of so many addresses, as Fn::Cidr has it.
def part($nth; $bits): {size: two_to($bits), first: (.first + $nth * two_to($bits))} | .last = .first + .size - 1 | .name = "\(.first | dotted)/\(32 - $bits)";
# AWS adds a block to a VPC of another private range not. 100.64.0.0/10 and public ones fit all private ones.
def private_range: . as $it | [("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "198.19.0.0/16") | select(span | holds($it | span))] | first // "";
def list: split(",") | map(select(. != ""));

# ---------- refusals: {what, help} ----------
# What a pattern means, by the name of its parameter: said here once, since a root may have 51 200 bytes.
def meaning($key): $key | if test("Ipv6Cidr$") then "an IPv6 network, one address being x::x/128; "
    elif test("Cidr[123]?$") then "an IPv4 network x.x.x.x/n, one address being x.x.x.x/32; "
    elif test("(Ids|Cidrs|Networks)$") then "a list, comma-separated without spaces; "
    else "" end;
def constraint($spec; $key):
    if $spec.AllowedValues then select(IN($spec.AllowedValues[]) | not) | "one of \($spec.AllowedValues | join(", "))"
    elif $spec.Type == "Number" then
        ($spec | "a number\(if .MinValue then " from " + .MinValue else "" end)\(if .MaxValue then " to " + .MaxValue else "" end)") as $wanted
        | select((test("^[0-9]+$") | not) or (tonumber < ($spec.MinValue // "0" | tonumber)) or ($spec.MaxValue != null and tonumber > ($spec.MaxValue | tonumber))) | $wanted
    elif $spec.AllowedPattern then select(test($spec.AllowedPattern) | not) | $spec.ConstraintDescription // "\(meaning($key))it must match \($spec.AllowedPattern)"
    else empty end;

# Each value by itself. AWS takes the shape of a network that is none only to fail later.
def by_value($spec; $p):
    # Those that the template gives are right.
    $p | to_entries[] | select($spec[.key] and .value != $spec[.key].Default) | .key as $key | .value
    | ([constraint($spec[$key]; $key)] | first) as $wanted
    | if length > 4096 then {what: "\($key) has \(length) characters", help: "a parameter of CloudFormation has 4 096 at most"}
      elif $wanted then {what: "\($key)=\(.)", help: $wanted}
      elif $key | test("Cidrs?[123]?$|Networks$") then list[] | select(contains(":") | not) | select(is_cidr | not) | {what: "\($key): \(.) is no IPv4 network", help: "x.x.x.x/n, each x up to 255, n up to 32"}
      elif $key == "MoreConnectPorts" then
        (list[] | tonumber | select(. > 65535 or . == 443) | {what: "\($key): \(.) is no port beside 443", help: "up to three ports from 1 to 65535"}),
        (list | select(index("80")) | {what: "\($key): 80 is for http:// requests, which do not come by CONNECT", help: "omit it: what comes by CONNECT must be TLS"}),
        (list | group_by(.)[] | select(length > 1) | {what: "\($key) names \(.[0]) twice", help: "each port once"})
      elif $key == "PrivateAddresses" then list[] | select(is_address | not) | {what: "\($key): \(.) is no IPv4 address", help: "x.x.x.x, each x up to 255"}
      else empty end;

# Without a default, and neither given nor found. The script makes the first three itself.
def missing($spec; $p):
    $spec | to_entries[] | select(.value | has("Default") | not) | .key as $key
    | select(IN($key; "Image", "ImageRepositoryArn", "PolicyBucket") | not) | select($p | has($key) | not)
    | {what: "\($key) is not set", help: "\($key)=..., \(.value.ConstraintDescription // "\(meaning($key))matching \(.value.AllowedPattern)")"};

def judge($p):
    if type != "array" then .
    elif .[0] == "Ref" then $p[.[1]] // ""
    elif .[0] == "Equals" then (.[1] | judge($p)) == (.[2] | judge($p))
    elif .[0] == "Not" then .[1] | judge($p) | not
    elif .[0] == "And" then all(.[1:][]; judge($p))
    elif .[0] == "Or" then any(.[1:][]; judge($p))
    else error("a rule with \(.[0])") end;

def by_rule($rules; $p): $rules[] | select((.when == null or (.when | judge($p))) and (.assert | judge($p) | not)) | {what: .say, help: ""};

# The subnets of a new VPC: {kind, nth, net}, or {refused} where its block does not hold those that are computed.
def subnets($p; $zones; $bits; $block; $kind; $skip):
    ($p[$block] | span) as $whole
    | range($zones) as $i | "\($kind)Subnet\($i + 1)Cidr" as $key
    | if ($p[$key] // "") != "" then {key: $key, nth: $i, net: ($p[$key] | span)}
      else ($whole | part($skip + $i; $bits)) as $net
        | if $whole.last < (if $kind == "Endpoint" then $net.last else ($whole | part(5; $bits)).last end)
          then {refused: {what: "\($block)=\($p[$block]) does not hold its subnets", help: (if $kind == "Endpoint" then "\($zones) of /\(32 - $bits) for the endpoints: a larger block, or \($key)=..." else "six of /\(32 - $bits): a /24 or larger, or all of PublicSubnet1Cidr, PrivateSubnet1Cidr ..." end)}}
          else {key: $key, nth: $i, net: $net} end
      end;

def of_new_vpc($p; $zones):
    # Where the template does not ask, it makes them.
    (if $p | has("LatticeAccess") then $p.LatticeAccess == "ENDPOINTS" else $p | has("EndpointVpcCidr") end) as $endpoints
    | ($p.VpcCidr | span) as $vpc | ($p.EndpointVpcCidr // $p.VpcCidr | span) as $second
    | [ (if $p.DeploymentMode != "PRIVATE" and ($p | has("PublicSubnet1Cidr")) then subnets($p; $zones; 5; "VpcCidr"; "Public"; 0) else empty end),
        subnets($p; $zones; 5; "VpcCidr"; "Private"; 3),
        (if $endpoints then subnets($p; $zones; 7; "EndpointVpcCidr"; "Endpoint"; 0) else empty end) ] as $all
    | ([$all[] | select(.net)]) as $made
    | first($all[] | .refused // empty),
      ($made[] | select(.net as $n | ($vpc | holds($n)) or ($endpoints and ($second | holds($n))) | not)
        | {what: "\(.key)=\(.net.name) is not in \(if $endpoints then "VpcCidr or EndpointVpcCidr" else "VpcCidr" end) (\($vpc.name)\(if $endpoints then ", \($second.name)" else "" end))", help: "leave the subnets empty: they are computed from the block"}),
      ($made | first(range(length) as $i | range($i + 1; length) as $j | select(.[$i].net as $n | .[$j].net | overlaps($n)) | {what: "\(.[$i].key) and \(.[$j].key) overlap: \(.[$i].net.name), \(.[$j].net.name)", help: "leave them empty: they are computed from the block"})),
      (if $endpoints and ($vpc | overlaps($second)) then {what: "EndpointVpcCidr=\($second.name) overlaps VpcCidr=\($vpc.name)", help: "it is a second block of the VPC: 100.64.0.0/23 fits any private range"} else empty end),
      (if $endpoints and ($second.name | private_range) != "" and ($second.name | private_range) != ($vpc.name | private_range)
       then {what: "EndpointVpcCidr=\($second.name) is of another range than VpcCidr=\($vpc.name)", help: "AWS adds a block of the same private range (10/8, 172.16/12, 192.168/16) or of 100.64.0.0/10"} else empty end),
      ($p.PrivateAddresses // "" | list | to_entries[] | (.value | span) as $address | .key as $i
        | first($made[] | select(.key == "PrivateSubnet\($i + 1)Cidr"))
        | select((.net | holds($address) | not) or $address.first - .net.first < 4 or $address.first == .net.last)
        | {what: "PrivateAddresses: \($address.name) is no free address of \(.key) (\(.net.name))", help: "one of that subnet, not its first four and not its last"});

# Without an error of their own in Rules, which know no lists, networks and comparisons.
def together($p):
    [$p["AvailabilityZone1", "AvailabilityZone2", "AvailabilityZone3"] // empty | select(. != "")] as $zones
    | ($p.AwsEndpoints // "" | if startswith("create:") then ltrimstr("create:") | list else null end) as $made
    | (if $zones | unique | length != ($zones | length) then {what: "a zone is named twice: \($zones | join(", "))", help: "a load balancer has one subnet in each zone"} else empty end),
      (if $p.MaxTasks and ($p.MinTasks | tonumber) > ($p.MaxTasks | tonumber) then {what: "MinTasks=\($p.MinTasks) is above MaxTasks=\($p.MaxTasks)", help: "raise MaxTasks too"} else empty end),
      (("PublicAllocationIds", "PrivateAddresses") as $key | $p[$key] // "" | list | select(. != [] and length != ($zones | length))
        | {what: "\($key) has \(length) for \($zones | length) zones", help: "one address for each zone, in the order of AvailabilityZone1 ... (set the zones of an existing VPC too)"}),
      (if $made and $p.AwsServicesEgressCidr == "" then
         ((["ecr.api", "ecr.dkr", "logs"] + (if $p.EnableExec == "true" then ["ssmmessages"] else [] end)) - $made - ($p.MoreAwsEndpoints | list)) as $missing
         | if $missing != [] then {what: "AwsEndpoints=\($p.AwsEndpoints) omits \($missing | join(", ")), so AwsServicesEgressCidr must say where the existing VPC reaches \(if $missing | length > 1 then "them" else "it" end)", help: "the CIDR of its endpoints, or 0.0.0.0/0 with NAT"} else empty end
       else empty end),
      ($p.Services // "" | list | . as $services | (group_by(.)[] | select(length > 1) | {what: "Services names \(.[0]) twice", help: "a VPC has one endpoint for each service"}),
        ("ecr.api", "ecr.dkr", "logs", "s3", (if $p.EnableExec == "true" then "ssmmessages" else empty end) | select(IN($services[])) | {what: "Services names \(.), which this VPC has an endpoint for already", help: "omit it"})),
      # Two of the same rule in a security group.
      (("PublicClientCidr", "PrivateClientCidr", "ClientCidr") as $key | [$p["\($key)1", "\($key)2", "\($key)3"] // empty | select(. != "") | span] | group_by([.first, .size])[] | select(length > 1)
        | {what: "\($key)1 ... name \(.[-1].name) twice", help: "each network once; \($key)2= leaves the second empty"}),
      (if $p.VpcCidr and ($p.ExistingVpcId // "") == "" and $zones != [] then of_new_vpc($p; $zones | length) else empty end);

# parameters: of lines NAME=VALUE over the defaults; the last line counts.
def over($specification): ($specification | map_values(.Default) | with_entries(select(.value != null)))
    + (split("\n") | map(select(test("^[A-Za-z0-9]+=")) | capture("^(?<key>[^=]+)=(?<value>.*)$") | {(.key): .value}) | add // {});

# refusals: one a line, what and help by a tab. A value that is wrong by itself is not judged beside others.
def refusals_by($spec; $rules; $all):
    over($spec) as $p
    | [by_value($spec; $p)]
    | if . != [] or ($all | not) then . else [missing($spec; $p)] | if . != [] then . else [by_rule($rules; $p)] | if . != [] then . else [together($p)] end end end
    | .[] | "\(.what)\t\(.help)";
def refusals($template; $all): refusals_by($template | specification; if $all then $template | rules else [] end; $all);
