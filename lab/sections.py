"""The sections and steps of the checklist that the lab knows by name: only here."""

CHECK = "check"  # changes nothing
DNS_PREPARE = "dns-prepare"
PREPARE_OLD = "prepare-old"  # from here on old refuses pushes
PREPARE_NEW = "prepare-new"
SWITCH_JOBS = "switch-jobs"
SWITCH_APP = "switch-app"
SWITCH_CRON = "switch-cron"  # promises that no cron run is missed or done twice
SWITCH_DB = "switch-db"  # orders go to new's database from here on, to old's again after its undo
SWITCH = f"{SWITCH_DB}.switch"  # the step that does it without a maintenance page
RESTART = "replicate.wal-level"  # the step that restarts old's PostgreSQL while queries are held
CERTIFICATE = "expand-cert"  # new has a certificate of its own from here on
FINISH = "finish"  # the CI host deploys to new from here on
SWITCH_DNS = "switch-dns"
DNS_RECORDS = f"{SWITCH_DNS}.records"  # the step that changes the records
RETIRE = "retire-old"  # ends the undo
