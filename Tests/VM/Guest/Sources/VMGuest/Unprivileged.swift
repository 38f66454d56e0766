import Glibc

/// `vm-guest as UID LOCKED COMMAND…`: runs a command as a user who may lock so many bytes.
enum Unprivileged {
  static func run(_ user: UInt64, locked: UInt64, _ command: [String]) -> Int32 {
    var limit = rlimit(rlim_cur: rlim_t(locked), rlim_max: rlim_t(locked))
    guard setrlimit(__rlimit_resource_t(__RLIMIT_MEMLOCK.rawValue), &limit) == 0,
      setgid(gid_t(user)) == 0,
      setuid(uid_t(user)) == 0
    else { fail("setrlimit, setgid or setuid: errno \(errno)") }
    var words = command.map { strdup($0) }
    words.append(nil)
    execvp(command[0], &words)
    fail("\(command[0]): errno \(errno)")
  }
}
