// A sound configuration that tests spoil one line at a time.

/** Three sites on one machine, one group, two volumes. */
export const SAMPLE = `
[witness]
address = "127.0.0.1:7400"

[site.alpha]
data = "/srv/alpha"
link = "127.0.0.1:7410"
nbd = ["127.0.0.1:10809", "unix:/run/alpha-nbd.sock"]
control = "unix:/run/alpha.sock"

[site.beta]
data = "/srv/beta"
link = "127.0.0.1:7411"
nbd = ["127.0.0.1:10810"]
control = "127.0.0.1:7511"

[site.gamma]
data = "gamma-data"
link = "[::1]:7412"
nbd = ["127.0.0.1:10811"]
control = "unix:/run/gamma.sock"

[group.db]
sites = ["alpha", "beta", "gamma"]
async = ["gamma"]
lease_millis = 1800

[[group.db.volume]]
name = "disk0"
size = "1GiB"

[[group.db.volume]]
name = "log"
size = 8192
base = { alpha = "/dev/vg/log", beta = "images/log.img" }
`;
