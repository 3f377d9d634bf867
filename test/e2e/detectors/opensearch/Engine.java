import java.util.List;
import java.util.concurrent.CountDownLatch;
import org.opensearch.common.settings.Settings;
import org.opensearch.env.Environment;
import org.opensearch.node.Node;
import org.opensearch.transport.Netty4Plugin;

/** OpenSearch on the port and in the folder that it is told, until it is stopped. */
public class Engine extends Node {
  Engine(Settings settings) {
    super(new Environment(settings, null), List.of(Netty4Plugin.class), true);
  }

  public static void main(String[] arguments) throws Exception {
    Settings settings = Settings.builder()
        .put("path.home", arguments[0])
        .put("http.port", arguments[1])
        .put("transport.port", arguments[2])
        .put("network.host", "127.0.0.1")
        .put("discovery.type", "single-node")
        .put("cluster.routing.allocation.disk.threshold_enabled", false)
        .build();
    new Engine(settings).start();
    new CountDownLatch(1).await();
  }
}
